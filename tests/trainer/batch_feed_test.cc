// The input path: order, reuse, faults of the source and of records.
#include "trainer/data/batch_feed.h"

#include <atomic>
#include <memory>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/trainer/batch_feed_fixture.h"
#include "trainer/data/miss_computing_source.h"
#include "trainer/data/record_computer.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

using BatchFeedTest = testing::BatchFeedTest;
using testing::FlakySource;

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

TEST_F(BatchFeedTest, ASourceThatStaysAwayIsGivenUpWhereThatIsWanted) {
  FlakySource gone(&source_, /*frames_before=*/7, /*failed_opens=*/1'000'000);
  BatchFeed::Options options = Options(8);
  options.give_up_after = absl::Milliseconds(30);
  EXPECT_THAT(Drain(gone, options).status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       ::testing::AllOf(HasSubstr("away since"), HasSubstr("waited for no longer"),
                                        HasSubstr("connection refused"))));
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

TEST_F(BatchFeedTest, WhatACacheLacksIsComputedAsItWouldHaveSentIt) {
  TeacherOptions teacher_options;
  teacher_options.weights = (folder_ / "teacher.safetensors").string();
  teacher_options.micro_batch = 2;  // so that a step has misses for several
  teacher_options.num_threads = 1;  // in the feed's thread as in this one: bits depend on it
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, TeacherRunner::Load(teacher_options));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto computer,
                                  RecordComputer::Create(teacher.get(), index_.get(), description_, nullptr));
  const uint64_t steps_per_epoch = StepsPerEpoch(Options(1).request.order, Options(1).request.global_batch);
  BatchFeed::Options options = Options(3 * steps_per_epoch);
  options.request.order.num_view_seeds = 3;
  InMemoryFeatureCatalog full, part;
  ASSERT_THAT(testing::FillCache(full, *teacher, *index_, description_, 3), IsOk());
  ASSERT_THAT(testing::FillCache(part, *teacher, *index_, description_, 2), IsOk());
  InMemoryEpochSource full_source(&full), part_source(&part);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> whole, Drain(full_source, options));

  // Here the third view seed is missing and some records of the first one are damaged.
  for (const size_t picture : {3, 4, 9, 20}) {
    ASSERT_THAT(part.DamageForTest(description_.set.Id(), {index_->manifest().keys()[picture], 0}), IsOk());
  }
  MissComputingSource source(&part_source, computer.get());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<std::string> computed, Drain(source, options));
  EXPECT_EQ(computed, whole);

  // Misses are marked, and only they.
  options.request.step_end = 1;
  options.request.epoch = 2;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto missing, source.Open(options.request));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, missing->Next());
  EXPECT_TRUE(frame->computed);
  options.request.epoch = 1;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto present, source.Open(options.request));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto other, present->Next());
  EXPECT_FALSE(other->computed);
}

TEST_F(BatchFeedTest, OnlyTheTeacherOfTheSetComputesWhatItLacks) {
  TeacherOptions teacher_options;
  teacher_options.weights = (folder_ / "teacher.safetensors").string();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, TeacherRunner::Load(teacher_options));
  EXPECT_THAT(RecordComputer::Create(teacher.get(), index_.get(), description_, nullptr), IsOk());
  SetDescription other = description_;
  other.feature.teacher["family"] = "another";
  other.set.feature_id = other.feature.Id();
  EXPECT_THAT(RecordComputer::Create(teacher.get(), index_.get(), other, nullptr).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(other.set.feature_id.Hex())));
  SetDescription named = description_;
  named.set.importance_from = Sha256({});
  EXPECT_THAT(RecordComputer::Create(teacher.get(), index_.get(), named, nullptr).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("importance is that of another")));
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
