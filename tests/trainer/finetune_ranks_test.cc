// Several ranks fine-tune as one does. The ranks are threads here.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "core/base/stop_signal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/distributed/in_ranks.h"
#include "tests/trainer/equal_runs.h"
#include "tests/trainer/small_world.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/data/labelled_view_loader.h"
#include "trainer/finetune/finetune.h"
#include "trainer/supervise/supervised_trainer.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::InRanks;

class FinetuneRanksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResetStopForTest();
    testing::WriteImages(Path("train"), {.num_images = 50});
    testing::WriteImages(Path("test"), {.num_images = 21, .seed = 2});
    testing::WriteTeacher(Path("student.safetensors"));
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  // Everything that could go differently with a part of the batch: mixing, dropped paths, parts, a norm, an
  // average, and a batch that no number of ranks here divides but 3.
  FinetuneOptions Options(const std::string& out) const {
    FinetuneOptions options;
    options.start.network.weights = Path("student.safetensors");
    options.layer_decay = 0.9;
    options.drop_path = 0.2;
    LabelledOptions& run = options.run;
    run.images = Path("train");
    run.test_images = Path("test");
    run.out = Path(out);
    run.batch_size = 15;
    run.accumulate = 2;
    run.epochs = 4;
    run.warmup_epochs = 1;
    run.lr = 2e-3;
    run.min_area = {4, 5};
    run.clip_grad = 0.5;
    run.ema = 0.9;
    run.num_threads = 1;
    run.rand_augment = "rand-m3-mstd0.5-p0.3-inc1";
    run.random_erasing = 0.1;
    run.mix = {.mixup_alpha = 0.8, .cutmix_alpha = 1.0};
    return options;
  }

  static std::vector<absl::Status> Ranks(uint32_t num_ranks,
                                         const std::function<FinetuneOptions(uint32_t rank)>& options) {
    std::vector<absl::Status> statuses(num_ranks);
    InRanks(num_ranks, [&](Communicator& ranks) {
      statuses[ranks.rank()] = Finetune(options(ranks.rank()), ranks).status();
    });
    return statuses;
  }
  static void Train(uint32_t num_ranks, const FinetuneOptions& options) {
    for (const absl::Status& status : Ranks(num_ranks, [&](uint32_t) { return options; }))
      EXPECT_THAT(status, IsOk());
  }

  std::vector<Json> Metrics(const std::string& run) const {
    std::vector<Json> lines;
    const std::string text = ReadFile(Path(run + "/metrics.jsonl")).value_or("");
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty()))
      lines.push_back(Json::parse(line.begin(), line.end()));
    return lines;
  }
  Checkpoint Last(const std::string& out) const { return testing::LastCheckpoint(Path(out)); }
  // The same figures in every line, but for what is measured in time.
  void ExpectSameRun(const std::string& one, const std::string& other) const {
    const std::vector<Json> a = Metrics(one), b = Metrics(other);
    ASSERT_EQ(a.size(), b.size());
    ASSERT_GE(a.size(), 12u);
    for (size_t i = 0; i < a.size(); ++i) {
      for (const auto& [key, value] : a[i].items()) {
        if (key == "images_per_s" || key == "wait_share" || key == "loss_hex" || key == "step_s" ||
            key == "stall_s")
          continue;
        ASSERT_TRUE(b[i].contains(key)) << key;
        if (!value.is_number_float()) {
          EXPECT_EQ(b[i][key], value) << i << " " << key;
        } else {
          EXPECT_NEAR(b[i][key].get<double>(), value.get<double>(), 2e-4 * std::abs(value.get<double>()))
              << other << " " << i << " " << key;
        }
      }
    }
  }
  const afterimage::testing::TemporaryFolder folder_;
};

TEST(PlacesOfRankTest, EachPlaceAndItsMirrorBelongToOneRank) {
  for (const uint64_t batch : {4u, 7u, 15u, 16u, 64u}) {
    for (uint32_t num_ranks = 1; num_ranks <= batch / 2; ++num_ranks) {
      std::vector<int> count(batch, 0);
      for (uint32_t rank = 0; rank < num_ranks; ++rank) {
        const std::vector<uint32_t> places = PlacesOfRank({rank, num_ranks}, batch);
        ASSERT_FALSE(places.empty());
        EXPECT_TRUE(std::ranges::is_sorted(places));
        for (size_t i = 0; i < places.size(); ++i) {
          ++count[places[i]];
          EXPECT_EQ(places[places.size() - 1 - i], batch - 1 - places[i]) << batch << " " << num_ranks;
        }
      }
      EXPECT_EQ(count, std::vector<int>(batch, 1)) << batch << " " << num_ranks;
    }
  }
}

TEST_F(FinetuneRanksTest, RanksMakeTheRunOfOneRank) {
  Train(1, Options("one"));
  for (const uint32_t num_ranks : {2u, 3u, 4u}) {
    const std::string out = absl::StrCat("ranks", num_ranks);
    Train(num_ranks, Options(out));
    ExpectSameRun("one", out);
    const Checkpoint one = Last("one"), ranks = Last(out);
    EXPECT_EQ(ranks.step, one.step);
    EXPECT_EQ(ranks.values.at("best_top1_count"), one.values.at("best_top1_count"));
    EXPECT_EQ(ranks.values.at("num_test_images"), "21");
    std::set<uint32_t> that_waited;
    for (const Json& line : Metrics(out)) {
      for (const Json& row : line.value("stall_s", Json::array()))
        that_waited.insert(row["rank"].get<uint32_t>());
    }
    EXPECT_EQ(that_waited.size(), num_ranks);
    testing::ExpectClose(ranks.weights, one.weights, 2e-3, 2e-5, out);
    testing::ExpectClose(ranks.average, one.average, 2e-3, 2e-5, out + " average");
  }
}

TEST_F(FinetuneRanksTest, ARestartWithAnotherNumberOfRanksGoesOn) {
  Train(1, Options("one"));
  const std::vector<uint32_t> lives = {2, 4, 1, 3};
  for (size_t life = 0; life < lives.size(); ++life) {
    FinetuneOptions options = Options("changing");
    options.run.test_images.clear();  // the ends of its lives would be evaluated
    if (life + 1 == lives.size()) options.run.test_images = Path("test");
    if (life + 1 < lives.size()) options.run.steps = 3 * (life + 1) + 1;
    Train(lives[life], options);
  }
  const Checkpoint one = Last("one"), changing = Last("changing");
  EXPECT_EQ(changing.step, one.step);
  testing::ExpectClose(changing.weights, one.weights, 2e-3, 2e-5, "changing");
}

TEST_F(FinetuneRanksTest, HalfPrecisionAndSupervisedTrainingHaveRanksToo) {
  FinetuneOptions half = Options("half");
  half.run.precision = "f16";
  Train(2, half);
  EXPECT_EQ(Last("half").step, 12u);

  SupervisedOptions supervised;
  supervised.run = Options("supervised").run;
  supervised.run.steps = 5;
  supervised.image_size = 16;
  supervised.width = 24;
  supervised.depth = 2;
  InRanks(2, [&](Communicator& ranks) { EXPECT_THAT(TrainSupervised(supervised, ranks).status(), IsOk()); });
  EXPECT_EQ(Last("supervised").step, 5u);
}

TEST_F(FinetuneRanksTest, OnlyRankZeroNeedsAndWritesTheFolder) {
  for (const absl::Status& status :
       Ranks(2, [&](uint32_t rank) { return Options(absl::StrCat("run", rank)); }))
    EXPECT_THAT(status, IsOk());
  EXPECT_TRUE(std::filesystem::exists(Path("run0/summary.json")));
  EXPECT_TRUE(std::filesystem::exists(Path("run0/best_model.safetensors")));
  EXPECT_FALSE(std::filesystem::exists(Path("run1")));
}

TEST_F(FinetuneRanksTest, RanksThatDifferOrAreTooManyAreRefused) {
  const auto other_rate = [&](uint32_t rank) {
    FinetuneOptions options = Options("run");
    if (rank == 1) options.run.lr = 1e-4;
    return options;
  };
  for (const absl::Status& status : Ranks(2, other_rate)) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 AllOf(HasSubstr("rank 1 is not as rank 0"), HasSubstr("lr"))));
  }
  const auto small = [&](uint32_t) {
    FinetuneOptions options = Options("run");
    options.run.batch_size = 3;
    return options;
  };
  for (const absl::Status& status : Ranks(2, small)) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("--batch-size 3"), HasSubstr("2 ranks"))));
  }
  EXPECT_FALSE(std::filesystem::exists(Path("run/summary.json")));
}

// A picture that one rank cannot read ends all of them, with its name.
TEST_F(FinetuneRanksTest, AnErrorOfOneRankIsToldByAll) {
  const auto first = std::filesystem::directory_iterator(Path("train/left"))->path();
  ASSERT_THAT(WriteFileAtomically(first, "no picture"), IsOk());
  for (const absl::Status& status : Ranks(3, [&](uint32_t) { return Options("run"); }))
    EXPECT_FALSE(status.ok()) << status;
  EXPECT_FALSE(std::filesystem::exists(Path("run/summary.json")));
}

}  // namespace
}  // namespace afterimage::trainer
