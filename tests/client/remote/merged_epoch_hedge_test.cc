// Records that a second server is asked for while the first one keeps its reader waiting.
#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "gmock/gmock.h"
#include "tests/client/remote/merged_epoch_fixture.h"

namespace afterimage::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Of servers that are left only for being slow here where a test says so.
MergedEpochSource::Options HedgeAfter(absl::Duration hedge_after) {
  return {.patience = absl::Hours(1),
          .hedge_after = hedge_after,
          .hedge_message_interval = absl::Hours(1),
          .pace = {.window = absl::Hours(1)}};
}

template <typename Condition>
void WaitFor(const Condition& condition) {
  for (int i = 0; i < 10'000 && !condition(); ++i) absl::SleepFor(absl::Milliseconds(1));
  ASSERT_TRUE(condition());
}

class MergedEpochHedgeTest : public MergedEpochFixture {
 protected:
  // Of server 1, in the second step: its slots are 4..7.
  static constexpr uint64_t kStall = 12 + 5;
};

TEST_F(MergedEpochHedgeTest, WhatAServerStallsOnComesFromAnotherAndTheDigestIsTheSame) {
  FillAll();
  trouble_[1]->stalls_at = kStall;  // for ever
  auto merged = Merged(HedgeAfter(absl::Milliseconds(20)));
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  EXPECT_EQ(trouble_[1]->frames, 5);
  EXPECT_EQ(num_hedged_, kNumPictures / kNumServers - 5);
  EXPECT_EQ(merged->hedges().won, num_hedged_);
  EXPECT_GE(merged->hedges().asked, num_hedged_);
  // One message for all of them, and the rest at the end.
  EXPECT_THAT(messages(), HasSubstr("server-1 keeps its reader waiting: 1 record was read from another"));
  EXPECT_THAT(messages(), Not(HasSubstr("records")));
  merged.reset();
  EXPECT_THAT(messages(), HasSubstr("server-1 keeps its reader waiting: 26 records were read"));
}

TEST_F(MergedEpochHedgeTest, OffMeansThatNothingIsReadTwice) {
  FillAll();
  for (const auto& trouble : trouble_) trouble->delay_us = 2'000;
  const auto merged = Merged(HedgeAfter(absl::InfiniteDuration()));
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  for (const auto& observed : observed_) EXPECT_EQ(observed->observer().num_reads, 0);
}

TEST_F(MergedEpochHedgeTest, AHedgedFrameSaysWhoWasWaitedForAndTheWaitIsOrder) {
  FillAll();
  trouble_[1]->stalls_at = kStall;
  const auto merged = Merged(HedgeAfter(absl::Milliseconds(20)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, merged->Open(request_));
  for (uint64_t position = 0; position < kStall; ++position) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    ASSERT_TRUE(frame.has_value());
    EXPECT_FALSE(frame->hedged);
  }
  const absl::Time begin = absl::Now();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
  EXPECT_TRUE(frame->hedged);
  EXPECT_EQ(frame->position, kStall);
  EXPECT_EQ(frame->server, 1);
  EXPECT_GE(frame->waited[StallPart::kOrder], absl::Milliseconds(20));
  EXPECT_LE(frame->waited.Total(), absl::Now() - begin);
}

TEST_F(MergedEpochHedgeTest, WhatComesLateIsDroppedAndItsCreditGivenBack) {
  FillAll();
  trouble_[1]->stalls_at = kStall;
  const auto merged = Merged(HedgeAfter(absl::Milliseconds(20)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, merged->Open(request_));
  uint64_t position = 0;
  for (; position < kNumPictures; ++position) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    EXPECT_EQ(frame->position, position);
    EXPECT_EQ(frame->state, RecordState::kOk);
    if (frame->hedged) trouble_[1]->stalls_at = -1;
    stream->ReturnCredit(frame->CostBytes());
  }
  EXPECT_EQ(trouble_[1]->stalls_at, -1);
  EXPECT_THAT(stream->Next(), IsOkAndHolds(::testing::Eq(std::nullopt)));
  EXPECT_EQ(trouble_[1]->frames, kNumPictures / kNumServers);
  for (int i = 0; i < kNumServers; ++i) {
    EXPECT_GT(trouble_[i]->cost, 0);
    EXPECT_EQ(trouble_[i]->cost, trouble_[i]->credit) << i;
  }
}

TEST_F(MergedEpochHedgeTest, AHedgeThatFailsLeavesTheReaderToItsServer) {
  FillAll();
  std::atomic<bool> was_asked = false;
  observed_[2]->observer().before_record = [&](const RecordKey&) {
    was_asked = true;
    return absl::InternalError("broken");
  };
  trouble_[1]->stalls_at = kStall;
  std::thread server([&] {
    WaitFor([&] { return was_asked.load(); });
    absl::SleepFor(absl::Milliseconds(50));
    trouble_[1]->stalls_at = -1;
  });
  const auto merged = Merged(HedgeAfter(absl::Milliseconds(20)));
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  server.join();
  EXPECT_EQ(num_hedged_, 0);
  EXPECT_GE(merged->hedges().asked, 1);
  EXPECT_EQ(merged->hedges().won, 0);
  EXPECT_THAT(messages(), IsEmpty());
}

TEST_F(MergedEpochHedgeTest, MissingOnTheSecondServerIsNoAnswer) {
  for (const int i : {0, 1}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    catalogs_[i].OpenSet(description_.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(FillSet(set, manifest_.digest(), 1));
  }
  trouble_[1]->stalls_at = kStall;
  std::thread server([&] {
    // What server 2 lacks of its own run is asked of server 0: it is asked itself only for the hedge.
    WaitFor([&] { return observed_[2]->observer().num_reads > 0; });
    absl::SleepFor(absl::Milliseconds(50));
    trouble_[1]->stalls_at = -1;
  });
  const auto merged = Merged(HedgeAfter(absl::Milliseconds(20)));
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  server.join();
  EXPECT_EQ(num_hedged_, 0);
  EXPECT_EQ(observed_[2]->observer().num_reads, 1);  // once a position
}

TEST_F(MergedEpochHedgeTest, CancelDoesNotWaitForAHedgeUnderWay) {
  FillAll();
  std::atomic<bool> was_asked = false, may_answer = false;
  observed_[2]->observer().before_record = [&](const RecordKey&) {
    was_asked = true;
    while (!may_answer) absl::SleepFor(absl::Milliseconds(1));
    return absl::OkStatus();
  };
  trouble_[1]->stalls_at = kStall;
  const auto merged = Merged(HedgeAfter(absl::Milliseconds(20)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, merged->Open(request_));
  std::thread canceller([&] {
    WaitFor([&] { return was_asked.load(); });
    stream->Cancel();
  });
  absl::Status status;
  while (status.ok()) status = stream->Next().status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  canceller.join();
  may_answer = true;
  stream.reset();
}

TEST_F(MergedEpochHedgeTest, OneThatHangsIsHedgedUntilItIsReplaced) {
  FillAll();
  trouble_[1]->hangs = true;
  for (const auto& trouble : trouble_) trouble->delay_us = 1'000;
  MergedEpochSource::Options options = HedgeAfter(absl::Milliseconds(20));
  options.patience = absl::Milliseconds(60);
  const auto merged = Merged(options);
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  EXPECT_GT(num_hedged_, 0);
  EXPECT_EQ(trouble_[1]->frames, 0);
  EXPECT_THAT(messages(), AllOf(HasSubstr("server-1 keeps its reader waiting"),
                                HasSubstr("what server-1 should have sent (it has sent nothing for 60ms)")));
}

TEST_F(MergedEpochHedgeTest, OneOfFourThatIsTenTimesSlowerIsHedged) {
  FillAll();
  num_servers_ = kMostServers;
  for (const auto& trouble : trouble_) trouble->delay_us = 4'000;
  trouble_[2]->delay_us = 40'000;
  const auto merged = Merged(HedgeAfter(absl::Milliseconds(1)));
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  EXPECT_GT(num_hedged_, 0);
  EXPECT_THAT(messages(), HasSubstr("server-2 keeps its reader waiting"));
  EXPECT_LT(trouble_[2]->frames, kNumPictures / kMostServers);
}

TEST_F(MergedEpochHedgeTest, WhereAllAreSlowReadsAreNotDoubled) {
  FillAll();
  const auto merged = Merged(HedgeAfter(absl::Milliseconds(2)));
  for (int i = 0; i < kNumServers; ++i) {
    trouble_[i]->delay_us = 10'000;
    observed_[i]->observer().before_record = [](const RecordKey&) {
      absl::SleepFor(absl::Milliseconds(10));
      return absl::OkStatus();
    };
  }
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  uint64_t num_hedges = 0;
  for (const auto& observed : observed_) num_hedges += observed->observer().num_reads;
  EXPECT_LT(num_hedges, kNumPictures / 2);
}

}  // namespace
}  // namespace afterimage::testing
