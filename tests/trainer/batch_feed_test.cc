// The input path: order, reuse, faults of the source and of records.
#include "trainer/data/batch_feed.h"

#include <atomic>
#include <memory>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/feature/in_memory_cache.h"
#include "core/order/in_memory_epoch_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/small_world.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

// Goes away after a number of frames, and refuses the next few tries to open it.
class FlakySource : public EpochSource {
 public:
  FlakySource(EpochSource* source, int frames_before, int failed_opens)
      : source_(source), frames_left_(frames_before), failed_opens_(failed_opens) {}

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override {
    if (frames_left_ <= 0 && failed_opens_-- > 0) return absl::UnavailableError("connection refused");
    auto stream = source_->Open(request);
    if (!stream.ok()) return stream.status();
    return std::make_unique<Stream>(this, *std::move(stream));
  }

 private:
  class Stream : public EpochStream {
   public:
    Stream(FlakySource* owner, std::unique_ptr<EpochStream> stream)
        : owner_(owner), stream_(std::move(stream)) {}
    absl::StatusOr<std::optional<EpochFrame>> Next() override {
      if (owner_->frames_left_-- == 0) return absl::UnavailableError("the server has gone");
      return stream_->Next();
    }
    void ReturnCredit(uint64_t bytes) override { stream_->ReturnCredit(bytes); }
    void Cancel() override { stream_->Cancel(); }

   private:
    FlakySource* const owner_;
    const std::unique_ptr<EpochStream> stream_;
  };
  EpochSource* const source_;
  std::atomic<int> frames_left_;
  std::atomic<int> failed_opens_;
};

class BatchFeedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::WriteImages((folder_ / "images").string());
    testing::WriteTeacher((folder_ / "teacher.safetensors").string());
    TeacherOptions options;
    options.weights = (folder_ / "teacher.safetensors").string();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, TeacherRunner::Load(options));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::shared_ptr<const ImageSource> source,
                                    OpenImageSource((folder_ / "images").string()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(index_, ImageIndex::Build(source, 1));
    description_ = testing::DescribeSet(*teacher, TokenPolicy::kAll, Codec::kF32);
    ASSERT_THAT(testing::FillCache(catalog_, *teacher, *index_, description_, 2), IsOk());
  }

  BatchFeed::Options Options(uint64_t num_steps) {
    BatchFeed::Options options;
    options.request.set_id = description_.set.Id();
    options.request.order = {.manifest = index_->manifest().digest(),
                             .num_occurrences = index_->manifest().num_occurrences(),
                             .num_view_seeds = 2,
                             .mask = {.num_visible = 5}};
    options.request.global_batch = 5;
    options.request.selection.tokens = Selection::Tokens::kMask;
    options.num_steps = num_steps;
    options.shape = {.batch = 5, .num_visible = 5, .patch_size = 3, .teachers = {{16, {2, 3}}}};
    options.first_wait = absl::Milliseconds(1);
    options.longest_wait = absl::Milliseconds(4);
    options.message = [this](const std::string& text) {
      std::lock_guard lock(mutex_);
      messages_.push_back(text);
    };
    return options;
  }

  // What a feed gave: epoch, step, digest sum and first target of every batch.
  absl::StatusOr<std::vector<std::string>> Drain(EpochSource& source, BatchFeed::Options options) {
    BatchFeed feed(&source, std::move(options));
    std::vector<std::string> batches;
    while (true) {
      const absl::StatusOr<TrainingBatch*> batch = feed.Next();
      if (!batch.ok()) return batch.status();
      if (*batch == nullptr) return batches;
      batches.push_back(absl::StrCat((*batch)->epoch, "/", (*batch)->step, " ", (*batch)->size, " ",
                                     (*batch)->sum.low, " ", (*batch)->targets[1].sum().item<double>(), " ",
                                     (*batch)->pixels.sum().item<int64_t>(), " ", (*batch)->num_skipped));
      feed.Release(*batch);
    }
  }

  const afterimage::testing::TemporaryFolder folder_;
  InMemoryFeatureCatalog catalog_;
  InMemoryEpochSource source_{&catalog_};
  std::unique_ptr<ImageIndex> index_;
  SetDescription description_;
  std::mutex mutex_;
  std::vector<std::string> messages_;
};

TEST_F(BatchFeedTest, GivesEveryBatchOfSeveralEpochsInOrder) {
  // 24 pictures: four steps of five per epoch.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> batches, Drain(source_, Options(10)));
  ASSERT_EQ(batches.size(), 10u);
  EXPECT_THAT(batches[0], ::testing::StartsWith("0/0 5 "));
  EXPECT_THAT(batches[9], ::testing::StartsWith("2/1 5 "));
  BatchFeed::Options later = Options(3);
  later.request.epoch = 1;
  later.request.step_begin = 3;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> rest, Drain(source_, later));
  EXPECT_THAT(rest, ::testing::ElementsAreArray(batches.begin() + 7, batches.end()));
}

TEST_F(BatchFeedTest, WaitsForASourceThatGoesAwayAndGoesOnAtTheSameStep) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> undisturbed, Drain(source_, Options(8)));
  FlakySource flaky(&source_, /*frames_before=*/7, /*failed_opens=*/3);  // in the middle of the second batch
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> disturbed, Drain(flaky, Options(8)));
  EXPECT_EQ(undisturbed, disturbed);
  ASSERT_EQ(messages_.size(), 5u);
  EXPECT_THAT(messages_[0], HasSubstr("away since"));
  EXPECT_THAT(messages_[0], HasSubstr("the server has gone"));
  EXPECT_THAT(messages_[1], HasSubstr("connection refused"));
  EXPECT_THAT(messages_[4], HasSubstr("is back"));
}

TEST_F(BatchFeedTest, ADamagedRecordStopsTrainingOrIsSkipped) {
  const RecordKey damaged{index_->manifest().keys()[3], 0};
  ASSERT_THAT(catalog_.DamageForTest(description_.set.Id(), damaged), IsOk());
  EXPECT_THAT(Drain(source_, Options(4)).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(damaged.ToString())));
  BatchFeed::Options options = Options(4);
  options.miss = MissPolicy::kSkip;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> batches, Drain(source_, options));
  int skipped = 0;
  for (const std::string& batch : batches) skipped += batch.back() - '0';
  EXPECT_LE(skipped, 1);  // the record may lie in the dropped tail of the epoch
}

TEST_F(BatchFeedTest, ASampleThatAFurtherSetLacksCountsAsMissingAndNamesTheSet) {
  TeacherOptions teacher_options;
  teacher_options.weights = (folder_ / "teacher.safetensors").string();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, TeacherRunner::Load(teacher_options));
  const SetDescription further =
      testing::DescribeSet(*teacher, TokenPolicy::kAll, Codec::kF16, /*pixels=*/false);
  ASSERT_THAT(testing::FillCache(catalog_, *teacher, *index_, further, 2), IsOk());
  BatchFeed::Options options = Options(4);
  options.further_sets = {{.set_id = further.set.Id(), .levels = {3}}};
  options.shape.teachers.push_back({16, {3}});
  options.shape.with_statistics = true;  // they are the last section, where a damaged record is damaged
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> whole, Drain(source_, options));
  EXPECT_EQ(whole.size(), 4u);

  for (const ImageKey& image : index_->manifest().keys())
    ASSERT_THAT(catalog_.DamageForTest(further.set.Id(), {image, 0}), IsOk());
  EXPECT_THAT(Drain(source_, options).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("set " + further.set.Id().Hex())));
  options.miss = MissPolicy::kSkip;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> skipped, Drain(source_, options));
  for (const std::string& batch : skipped) EXPECT_THAT(batch, ::testing::EndsWith(" 5"));
}

TEST_F(BatchFeedTest, MissingRecordsNameTheirKeyAndTheRemedy) {
  BatchFeed::Options options = Options(8);
  options.request.order.num_view_seeds = 3;  // the third was never computed
  options.request.epoch = 2;
  EXPECT_THAT(Drain(source_, options).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/2 is missing; `afterimage-precompute`")));
}

TEST_F(BatchFeedTest, MissingRecordsAreWaitedForUntilAPrecomputeHasMadeThem) {
  const uint64_t steps_per_epoch = StepsPerEpoch(Options(1).request.order, Options(1).request.global_batch);
  BatchFeed::Options options = Options(3 * steps_per_epoch);
  options.request.order.num_view_seeds = 3;  // the third is not computed yet
  options.miss = MissPolicy::kWait;
  options.first_wait = options.longest_wait = absl::Milliseconds(20);
  options.set_progress = [] { return std::string("10 of 20 records are there"); };
  std::mutex mutex;
  std::string messages;
  bool computed = false;
  options.message = [&](const std::string& text) {
    std::lock_guard lock(mutex);
    messages += text + "\n";
    if (computed) return;
    computed = true;  // from within the wait: the next look finds the records
    TeacherOptions teacher_options;
    teacher_options.weights = (folder_ / "teacher.safetensors").string();
    const auto teacher = TeacherRunner::Load(teacher_options);
    ASSERT_THAT(teacher, IsOk());
    EXPECT_THAT(testing::FillCache(catalog_, **teacher, *index_, description_, 3), IsOk());
  };
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> waited, Drain(source_, options));
  EXPECT_THAT(messages, HasSubstr("for what is not computed yet: 10 of 20 records are there"));
  EXPECT_THAT(messages, HasSubstr("/2 is missing"));
  EXPECT_THAT(messages, HasSubstr("what was not computed yet is there after"));
  options.message = nullptr;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> whole, Drain(source_, options));
  EXPECT_EQ(waited, whole);
}

TEST_F(BatchFeedTest, WaitingIsForMissingRecordsAlone) {
  BatchFeed::Options options = Options(4);
  options.miss = MissPolicy::kWait;
  const RecordKey damaged{index_->manifest().keys()[3], 0};
  ASSERT_THAT(catalog_.DamageForTest(description_.set.Id(), damaged), IsOk());
  EXPECT_THAT(Drain(source_, options).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(damaged.ToString())));
  options.request.set_id = Digest256();
  EXPECT_THAT(Drain(source_, options).status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("set")));
}

// Holds back the frame of one position for a while.
class HesitantSource : public EpochSource {
 public:
  explicit HesitantSource(EpochSource* source) : source_(source) {}
  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override {
    auto stream = source_->Open(request);
    if (!stream.ok()) return stream.status();
    return std::make_unique<Stream>(*std::move(stream));
  }

 private:
  class Stream : public EpochStream {
   public:
    explicit Stream(std::unique_ptr<EpochStream> stream) : stream_(std::move(stream)) {}
    absl::StatusOr<std::optional<EpochFrame>> Next() override {
      if (frames_++ == 8) absl::SleepFor(absl::Milliseconds(600));
      return stream_->Next();
    }
    void ReturnCredit(uint64_t bytes) override { stream_->ReturnCredit(bytes); }
    void Cancel() override { stream_->Cancel(); }

   private:
    const std::unique_ptr<EpochStream> stream_;
    int frames_ = 0;
  };
  EpochSource* const source_;
};

TEST_F(BatchFeedTest, ALongWaitIsToldWithWhatItIsFor) {
  HesitantSource source(&source_);
  BatchFeed::Options options = Options(2);
  options.longest_wait = absl::Milliseconds(50);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> batches, Drain(source, options));
  EXPECT_EQ(batches.size(), 2u);
  std::lock_guard lock(mutex_);
  EXPECT_THAT(messages_,
              ::testing::Contains(HasSubstr("to send more: 3 of 5 samples of this batch have come")));
}

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

TEST_F(BatchFeedTest, TheWaitForABatchIsDividedByServerAndPart) {
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

TEST_F(BatchFeedTest, WhatPassedBeforeTheWaitIsNoPartOfIt) {
  ScriptedSource source(&source_);
  source.waited[StallPart::kWire] = absl::Milliseconds(60);
  source.waited[StallPart::kDisk] = absl::Milliseconds(30);
  source.before_the_wait = absl::Milliseconds(60);
  const Stall stall = FirstWait(source, Options(1));
  EXPECT_EQ(Ms(stall.Total()), 500 - 60);
  EXPECT_EQ(Ms(stall.rows()[2][StallPart::kWire]), 20 + 4 * 60);  // 30 of the first frame's 90 ms
  EXPECT_EQ(Ms(stall.rows()[2][StallPart::kDisk]), 10 + 4 * 30);
}

TEST_F(BatchFeedTest, WhatASourceDoesNotExplainIsWorkOfThisProcess) {
  ScriptedSource source(&source_);
  const Stall stall = FirstWait(source, Options(1));
  ASSERT_EQ(stall.rows().size(), 1);
  EXPECT_EQ(Ms(stall.rows()[0][StallPart::kDecode]), 50);
}

TEST_F(BatchFeedTest, OpeningAnEpochAndWaitingForASourceThatIsAwayAreTheQueue) {
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

TEST_F(BatchFeedTest, ABatchThatIsReadyIsNotWaitedFor) {
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

TEST_F(BatchFeedTest, AnEarlyEndNeitherHangsNorLeaks) {
  BatchFeed feed(&source_, Options(1000));
  ASSERT_THAT(feed.Next().status(), IsOk());
}

TEST_F(BatchFeedTest, AStopIsSeenWhileTheSourceIsAway) {
  FlakySource flaky(&source_, 0, 1 << 20);
  BatchFeed feed(&flaky, Options(4));
  int asked = 0;
  const absl::StatusOr<TrainingBatch*> batch = feed.Next([&] { return ++asked == 2; });
  ASSERT_THAT(batch.status(), IsOk());
  EXPECT_EQ(*batch, nullptr);
}

}  // namespace
}  // namespace afterimage::trainer
