// What the waits for batches are divided into.
#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/trainer/batch_feed_fixture.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using BatchFeedStallTest = testing::BatchFeedTest;
using testing::FlakySource;

// Says of the frames what they were waited for, and lets a clock go on by that; work on a frame takes 10 ms.
class ScriptedSource : public EpochSource {
 public:
  explicit ScriptedSource(EpochSource* source) : source_(source) {}
  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override {
    Advance(opening);
    auto stream = source_->Open(request);
    if (!stream.ok()) return stream.status();
    return std::make_unique<Stream>(this, *std::move(stream));
  }

  absl::Time Now() const { return absl::UnixEpoch() + absl::Milliseconds(clock_ms_.load()); }
  void Advance(absl::Duration time) { clock_ms_ += absl::ToInt64Milliseconds(time); }

  absl::Duration opening;
  absl::Duration before_the_wait;        // of the first frame's time, passed before Next is called
  StallTimes waited;                     // for each frame
  std::atomic<bool> hesitates = false;   // at the first frame, until ...
  std::atomic<bool> next_waits = false;  // ... this is set

 private:
  class Stream : public EpochStream {
   public:
    Stream(ScriptedSource* owner, std::unique_ptr<EpochStream> stream)
        : owner_(owner), stream_(std::move(stream)) {}
    absl::StatusOr<std::optional<EpochFrame>> Next() override {
      absl::Duration time = owner_->waited.Total();
      if (!owner_->next_waits) {
        owner_->Advance(owner_->before_the_wait);
        time -= owner_->before_the_wait;
        owner_->hesitates = true;
        while (!owner_->next_waits) absl::SleepFor(absl::Milliseconds(1));
      }
      owner_->Advance(time);
      auto frame = stream_->Next();
      if (!frame.ok() || !frame->has_value()) return frame;
      (*frame)->waited = owner_->waited;
      (*frame)->server = 1;
      return frame;
    }
    void ReturnCredit(uint64_t bytes) override {
      owner_->Advance(absl::Milliseconds(10));
      stream_->ReturnCredit(bytes);
    }
    void Cancel() override { stream_->Cancel(); }

   private:
    ScriptedSource* const owner_;
    const std::unique_ptr<EpochStream> stream_;
  };
  EpochSource* const source_;
  std::atomic<int64_t> clock_ms_ = 0;
};

// What the first batch of one step was waited for.
Stall FirstWait(ScriptedSource& source, BatchFeed::Options options) {
  options.now = [&source] { return source.Now(); };
  BatchFeed feed(&source, std::move(options));
  while (!source.hesitates) absl::SleepFor(absl::Milliseconds(1));
  const absl::Time begin = source.Now();
  // Called while Next waits.
  const auto batch = feed.Next([&] {
    source.next_waits = true;
    return false;
  });
  EXPECT_THAT(batch.status(), IsOk());
  EXPECT_EQ(feed.last_wait().Total(), source.Now() - begin) << "the parts add up to the wait";
  return feed.last_wait();
}
int64_t Ms(absl::Duration time) { return absl::ToInt64Milliseconds(time + absl::Microseconds(1)); }

TEST_F(BatchFeedStallTest, TheWaitForABatchIsDividedByServerAndPart) {
  ScriptedSource source(&source_);
  source.waited[StallPart::kDisk] = absl::Milliseconds(70);
  source.waited[StallPart::kCredit] = absl::Milliseconds(20);
  const Stall stall = FirstWait(source, Options(1));
  ASSERT_EQ(stall.rows().size(), 3);
  EXPECT_EQ(Ms(stall.rows()[2][StallPart::kDisk]), 5 * 70);
  EXPECT_EQ(Ms(stall.rows()[2][StallPart::kCredit]), 5 * 20);
  EXPECT_EQ(Ms(stall.rows()[0][StallPart::kDecode]), 5 * 10);
  EXPECT_EQ(Ms(stall.Total()), 500);
}

TEST_F(BatchFeedStallTest, WhatPassedBeforeTheWaitIsNoPartOfIt) {
  ScriptedSource source(&source_);
  source.waited[StallPart::kWire] = absl::Milliseconds(60);
  source.waited[StallPart::kDisk] = absl::Milliseconds(30);
  source.before_the_wait = absl::Milliseconds(60);
  const Stall stall = FirstWait(source, Options(1));
  EXPECT_EQ(Ms(stall.Total()), 500 - 60);
  EXPECT_EQ(Ms(stall.rows()[2][StallPart::kWire]), 20 + 4 * 60);  // 30 of the first frame's 90 ms
  EXPECT_EQ(Ms(stall.rows()[2][StallPart::kDisk]), 10 + 4 * 30);
}

TEST_F(BatchFeedStallTest, WhatASourceDoesNotExplainIsWorkOfThisProcess) {
  ScriptedSource source(&source_);
  const Stall stall = FirstWait(source, Options(1));
  ASSERT_EQ(stall.rows().size(), 1);
  EXPECT_EQ(Ms(stall.rows()[0][StallPart::kDecode]), 50);
}

TEST_F(BatchFeedStallTest, OpeningAnEpochAndWaitingForASourceThatIsAwayAreTheQueue) {
  ScriptedSource source(&source_);
  source.next_waits = true;
  source.opening = absl::Milliseconds(40);
  FlakySource flaky(&source, /*frames_before=*/5, /*failed_opens=*/1);  // away for the second batch
  BatchFeed::Options options = Options(2);
  options.num_batches = 1;  // so that it is made while it is waited for
  options.now = [&] { return source.Now(); };
  std::atomic<bool> next_waits = false;
  options.message = [&](const std::string&) {
    while (!next_waits) absl::SleepFor(absl::Milliseconds(1));
    source.Advance(absl::Milliseconds(300));
  };
  options.longest_wait = absl::Hours(1);  // no message of Next itself
  BatchFeed feed(&flaky, options);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(TrainingBatch* const first, feed.Next());
  feed.Release(first);
  ASSERT_THAT(feed.Next([&] {
                    next_waits = true;
                    return false;
                  })
                  .status(),
              IsOk());
  ASSERT_EQ(feed.last_wait().rows().size(), 1);
  // Two messages while it is away, one when it is back; the last counts as work of the feed.
  EXPECT_EQ(Ms(feed.last_wait().rows()[0][StallPart::kQueue]), 2 * 300 + 40);
  EXPECT_EQ(Ms(feed.last_wait().rows()[0][StallPart::kDecode]), 5 * 10 + 300);
}

TEST_F(BatchFeedStallTest, ABatchThatIsReadyIsNotWaitedFor) {
  ScriptedSource source(&source_);
  source.next_waits = true;
  BatchFeed::Options options = Options(3);
  options.now = [&] { return source.Now(); };
  BatchFeed feed(&source, options);
  ASSERT_THAT(feed.Next().status(), IsOk());
  while (source.Now() < absl::UnixEpoch() + absl::Milliseconds(3 * 50)) absl::SleepFor(absl::Milliseconds(1));
  absl::SleepFor(absl::Milliseconds(50));  // the last one is handed over
  ASSERT_THAT(feed.Next().status(), IsOk());
  EXPECT_EQ(feed.last_wait().Total(), absl::ZeroDuration());
}

}  // namespace
}  // namespace afterimage::trainer
