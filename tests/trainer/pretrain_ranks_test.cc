// Several ranks make the run that one rank makes. The ranks are threads here; tests/integration/ranks_test.cc
// has processes.
#include <ATen/ATen.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/trainer/distributed/in_ranks.h"
#include "tests/trainer/equal_runs.h"
#include "tests/trainer/pretrain_fixture.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/pretrain/agreed_step.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/train_step.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::InRanks;
using ::testing::SizeIs;

class PretrainRanksTest : public testing::PretrainTest {
 protected:
  // The status of each rank.
  static std::vector<absl::Status> Ranks(uint32_t num_ranks,
                                         const std::function<PretrainOptions(uint32_t rank)>& options) {
    std::vector<absl::Status> statuses(num_ranks);
    InRanks(num_ranks, [&](Communicator& communicator) {
      statuses[communicator.rank()] = Pretrain(options(communicator.rank()), communicator).status();
    });
    return statuses;
  }
  static void Train(uint32_t num_ranks, const PretrainOptions& options) {
    for (const absl::Status& status : Ranks(num_ranks, [&](uint32_t) { return options; }))
      EXPECT_THAT(status, IsOk());
  }

  void ExpectNear(const std::string& one, const std::string& other, const std::string& column) const {
    const auto a = Column(one, column), b = Column(other, column);
    ASSERT_EQ(a.size(), b.size());
    ASSERT_FALSE(a.empty()) << column;
    for (const auto& [step, text] : a) {
      const double wanted = std::strtod(text.c_str(), nullptr);
      EXPECT_NEAR(std::strtod(b.at(step).c_str(), nullptr), wanted, 2e-5 * std::abs(wanted))
          << column << " " << step;
    }
  }
  Checkpoint Last(const std::string& out) const { return testing::LastCheckpoint(Path(out)); }

  // Everything that could go differently with a part of the batch: dropped paths, pictures that weigh
  // nothing, parts, a norm, an average.
  PretrainOptions Everything(const std::string& out) const {
    PretrainOptions options = Cached(out);
    options.batch_size = 9;  // no number of ranks here divides it but 3
    options.drop_path = 0.3;
    options.accumulate = 2;
    options.clip_grad = 0.5;
    options.ema = 0.9;
    return options;
  }
};

TEST_F(PretrainRanksTest, RanksMakeTheRunOfOneRank) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16, /*pixels=*/true, /*num_undecodable=*/3);
  Train(1, Everything("one"));
  for (const uint32_t num_ranks : {2u, 3u, 4u}) {
    const std::string out = absl::StrCat("ranks", num_ranks);
    Train(num_ranks, Everything(out));
    ExpectNear("one", out, "loss_hex");
    ExpectNear("one", out, "grad_norm");
    EXPECT_EQ(Digests(out), Digests("one"));
    EXPECT_EQ(Column(out, "samples"), Column("one", "samples"));
    const Checkpoint one = Last("one"), ranks = Last(out);
    EXPECT_EQ(ranks.values.at("step_token"), one.values.at("step_token"));
    testing::ExpectClose(ranks.weights, one.weights, 1e-3, 1e-5, out);
    testing::ExpectClose(ranks.average, one.average, 1e-3, 1e-5, out + " average");
  }
}

TEST_F(PretrainRanksTest, EveryStepHasALedgerOfTheRanks) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16, /*pixels=*/true);
  Train(3, Cached("run"));
  const auto ledgers = Column("run", "stall_s");
  EXPECT_EQ(ledgers.size(), Column("run", "loss_hex").size());
  for (const auto& [step, ledger] : ledgers) {
    for (const Json& row : Json::parse(ledger)) EXPECT_LT(row["rank"].get<uint32_t>(), 3u) << step;
  }
}

TEST_F(PretrainRanksTest, ARestartWithAnotherNumberOfRanksGoesOnInTheSameOrder) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16, /*pixels=*/true, /*num_undecodable=*/3);
  Train(1, Everything("one"));
  const std::vector<uint32_t> lives = {2, 4, 1, 3};
  for (size_t life = 0; life < lives.size(); ++life) {
    PretrainOptions options = Everything("changing");
    if (life + 1 < lives.size()) options.steps = 3 * (life + 1) + 1;
    Train(lives[life], options);
  }
  EXPECT_EQ(Digests("changing"), Digests("one"));
  ExpectNear("one", "changing", "loss_hex");
}

TEST_F(PretrainRanksTest, TheSameNumberOfRanksGoesOnBitForBit) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);
  Train(2, Everything("whole"));
  PretrainOptions options = Everything("resumed");
  options.steps = 4;
  Train(2, options);
  options.steps = 0;
  Train(2, options);
  EXPECT_EQ(Losses("resumed"), Losses("whole"));
  EXPECT_EQ(Digests("resumed"), Digests("whole"));
}

TEST_F(PretrainRanksTest, ALiveTeacherOnEachRankGivesTheLossesOfTheCache) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  Train(2, Cached("cached"));
  Train(2, OnLine("live"));
  EXPECT_EQ(Losses("live"), Losses("cached"));
  EXPECT_EQ(Digests("live"), Digests("cached"));
}

TEST_F(PretrainRanksTest, OnlyRankZeroNeedsAndWritesTheFolder) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);
  const auto options = [&](uint32_t rank) { return Cached(absl::StrCat("run", rank)); };
  for (const absl::Status& status : Ranks(2, options)) EXPECT_THAT(status, IsOk());
  EXPECT_TRUE(std::filesystem::exists(Path("run0") + "/summary.json"));
  EXPECT_FALSE(std::filesystem::exists(Path("run1")));
  // It goes on from rank 0's checkpoint.
  const auto longer = [&](uint32_t rank) {
    PretrainOptions again = options(rank);
    again.steps = 12;
    return again;
  };
  for (const absl::Status& status : Ranks(2, longer)) EXPECT_THAT(status, IsOk());
  EXPECT_THAT(Losses("run0"), SizeIs(12));
}

TEST_F(PretrainRanksTest, OtherOptionsAreRefusedOnAllRanksWithBothValues) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);
  const auto statuses = Ranks(3, [&](uint32_t rank) {
    PretrainOptions options = Cached("run");
    if (rank == 2) options.lr = 2e-3;
    return options;
  });
  for (const absl::Status& status : statuses) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 AllOf(HasSubstr("rank 2 is not as rank 0"), HasSubstr("config.lr"),
                                       HasSubstr("0.002"), HasSubstr("0.001"))));
  }
  EXPECT_FALSE(std::filesystem::exists(Path("run")));
}

TEST_F(PretrainRanksTest, WhatOneRankCannotOpenEndsAll) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);
  const auto statuses =
      Ranks(2, [&](uint32_t rank) { return Cached("run", rank == 1 ? "elsewhere" : "cache"); });
  EXPECT_THAT(std::string(statuses[0].message()), AllOf(HasSubstr("rank 1: "), HasSubstr("elsewhere")));
  EXPECT_THAT(std::string(statuses[1].message()), HasSubstr("elsewhere"));
}

TEST_F(PretrainRanksTest, ABatchBelowTheNumberOfRanksIsRefused) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);
  const auto statuses = Ranks(3, [&](uint32_t) {
    PretrainOptions options = Cached("run");
    options.batch_size = 2;
    return options;
  });
  EXPECT_THAT(statuses[1],
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--batch-size 2 is below the 3 ranks")));
}

TEST_F(PretrainRanksTest, ALossThatIsNotFiniteOnOneRankStopsAll) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);
  PretrainOptions options = Cached("run");
  options.lr = 1e30;
  const auto statuses = Ranks(2, [&](uint32_t) { return options; });
  for (const absl::Status& status : statuses)
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal, HasSubstr("not finite at step")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string samples,
                                  ReadFile(Path("run") + "/not-finite/samples.json"));
  EXPECT_THAT(Json::parse(samples)["samples"], SizeIs(8)) << "those of both ranks";

  options.lr = 1e-3;
  InRanks(2, [&](Communicator& ranks) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan plan, PlanPretraining(options, {ranks.rank(), 2}));
    StepTrace trace({});
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto train_step, TrainStep::Create(plan, &ranks, &trace));
    BatchFeed feed(plan.input->source(), FeedFrom(plan, plan.start));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(TrainingBatch* const batch, feed.Next());
    EXPECT_EQ(batch->size, 4);
    EXPECT_EQ(batch->slots[0], 4 * ranks.rank());
    if (ranks.rank() == 1) batch->targets[0][0][0][0] = std::numeric_limits<float>::infinity();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const float loss, train_step->Gradients(*batch, 0, 8));
    EXPECT_FALSE(std::isfinite(loss)) << ranks.rank();
  });
}

TEST_F(PretrainRanksTest, TheTraceHasEachRanksPhasesAndSums) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);
  PretrainOptions options = Cached("run");
  options.trace = Path("trace.json");
  options.trace_steps = 5;
  options.bucket_bytes = 4096;
  Train(2, options);
  for (const uint32_t rank : {0u, 1u}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string text,
                                    ReadFile(Path(absl::StrCat("trace.rank", rank, ".json"))));
    const Json trace = Json::parse(text);
    std::map<std::string, int> count;
    std::map<int, std::pair<double, double>> steps;  // begin, end
    for (const Json& event : trace["traceEvents"]) {
      EXPECT_EQ(event["pid"], rank);
      if (event["ph"] != "X") continue;
      ++count[event["name"].get<std::string>()];
      const double begin = event["ts"].get<double>(), end = begin + event["dur"].get<double>();
      if (event["name"].get<std::string>().starts_with("step ")) {
        steps[static_cast<int>(steps.size())] = {begin, end};
      } else {
        const auto [step_begin, step_end] = steps.at(event["args"]["step"].get<int>());
        EXPECT_GE(begin, step_begin - 1) << event;
        EXPECT_LE(end, step_end + 1) << event;
      }
    }
    EXPECT_THAT(steps, SizeIs(5));
    for (const char* phase :
         {"input", "agree on the step", "forward", "backward", "wait for all-reduce", "optimiser"})
      EXPECT_EQ(count[phase], 5) << phase;
    EXPECT_EQ(count["all-reduce 0"], 5);
    EXPECT_EQ(count["all-reduce 1"], 5) << "several buckets";
    EXPECT_THAT(trace["otherData"]["summary"].get<std::string>(), HasSubstr("behind the backward pass"));
  }
}

TEST(AgreedStepTest, SumsAndDecisionsAreTheSameOnAllRanks) {
  InRanks(3, [](Communicator& ranks) {
    TrainingBatch batch;
    batch.size = 5 + ranks.rank();
    batch.num_failed = ranks.rank();
    batch.num_skipped = 1;
    batch.sum = {~uint64_t{0}, 7};
    // Rank r reads from r servers, and waited for each of its rows.
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
        const ServersOfRanks servers,
        GatherServers(ranks, std::vector<std::string>(ranks.rank(), absl::StrCat("of ", ranks.rank()))));
    ASSERT_THAT(servers, SizeIs(3));
    EXPECT_THAT(servers[0], SizeIs(0));
    EXPECT_EQ(servers[2], (std::vector<std::string>{"of 2", "of 2"}));
    Stall waited;
    waited.Add(std::nullopt, {StallPart::kDecode, absl::Milliseconds(100 * ranks.rank())});
    for (uint32_t server = 0; server < ranks.rank(); ++server)
      waited.Add(server, {StallPart::kDisk, absl::Milliseconds(10 * ranks.rank() + server)});
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
        const AgreedStep step,
        AgreeOnStep(ranks, servers, &batch, false, waited, {.asked = 2 * ranks.rank(), .won = ranks.rank()}));
    EXPECT_FALSE(step.stop);
    EXPECT_EQ(step.num_samples, 18u);
    EXPECT_EQ(step.num_failed, 3u);
    EXPECT_EQ(step.num_skipped, 3u);
    EXPECT_EQ(step.hedges.asked, 6u);
    EXPECT_EQ(step.hedges.won, 3u);
    EXPECT_EQ(step.sum, (StepSum{~uint64_t{0} - 2, 21}));
    ASSERT_THAT(step.waited, SizeIs(3));
    EXPECT_EQ(step.waited[0].Total(), absl::ZeroDuration());
    EXPECT_EQ(step.waited[1].Total(), absl::Milliseconds(100 + 10));
    EXPECT_EQ(step.waited[2].rows().at(0)[StallPart::kDecode], absl::Milliseconds(200));
    EXPECT_EQ(step.waited[2].rows().at(2)[StallPart::kDisk], absl::Milliseconds(21));

    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const AgreedStep asked,
                                    AgreeOnStep(ranks, servers, &batch, ranks.rank() == 2, waited, {}));
    EXPECT_TRUE(asked.stop);
    TrainingBatch* const none = nullptr;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
        const AgreedStep ended,
        AgreeOnStep(ranks, servers, ranks.rank() == 0 ? none : &batch, false, waited, {}));
    EXPECT_TRUE(ended.stop);

    const absl::StatusOr<TrainingBatch*> failed = absl::NotFoundError("record 7 is missing");
    const absl::Status error =
        AgreeOnStep(ranks, servers, ranks.rank() == 1 ? failed : &batch, false, waited, {}).status();
    EXPECT_THAT(error, StatusIs(absl::StatusCode::kNotFound, HasSubstr("record 7 is missing")));
    EXPECT_EQ(error.message().find("rank 1: ") == 0, ranks.rank() != 1);
  });
}

}  // namespace
}  // namespace afterimage::trainer
