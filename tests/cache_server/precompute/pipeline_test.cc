#include "cache_server/precompute/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "core/base/stop_signal.h"
#include "core/feature/encode_for_set.h"
#include "core/feature/feature_block.h"
#include "core/feature/in_memory_cache.h"
#include "core/image/decode.h"
#include "core/view/view.h"
#include "tests/testing/fake_teacher.h"
#include "tests/testing/memory_image_source.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::FakeTeacher;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::MemoryImageSource;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

class PrecomputePipelineTest : public ::testing::Test {
 protected:
  void SetUp() override { ResetStopForTest(); }
  void TearDown() override { ResetStopForTest(); }

  void Index(std::shared_ptr<ImageSource> source) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(images_, ImageIndex::Build(std::move(source), 2));
    ASSERT_THAT(catalog_.PutManifest(images_->manifest()), IsOk());
  }

  SetDescription Describe(TokenPolicy policy, uint32_t num_shards) {
    ViewSpec view;
    view.size = teacher_.view_size();
    SetDescription description;
    description.feature.teacher = teacher_.TeacherSpec();
    description.feature.preprocessing = teacher_.PreprocessingSpec();
    description.feature.view = view;
    description.feature.geometry = teacher_.geometry();
    description.set.feature_id = description.feature.Id();
    description.set.levels = {2, 3};
    description.set.token_policy = policy;
    description.set.mask.num_visible = 5;
    description.set.mask.num_masks = 2;
    description.set.codec = Codec::kF32;
    description.layout.num_shards = num_shards;
    return description;
  }

  absl::StatusOr<PipelineReport> Run(const SetDescription& description, PipelineOptions options, TeacherRunner* teacher = nullptr) {
    absl::StatusOr<SetDescription> created = catalog_.CreateSet(description);
    if (!created.ok()) return created.status();
    absl::StatusOr<OpenedSet> set = catalog_.OpenSet(description.set.Id(), OpenMode::kContribute);
    if (!set.ok()) return set.status();
    options.wait_for_others = absl::Milliseconds(20);
    PrecomputePipeline pipeline(*set, images_.get(), teacher != nullptr ? teacher : &teacher_, options);
    return pipeline.Run(nullptr);
  }

  std::shared_ptr<FeatureStore> Store(const SetDescription& description) {
    return catalog_.OpenSet(description.set.Id(), OpenMode::kRead)->store;
  }

  InMemoryFeatureCatalog catalog_;
  FakeTeacher teacher_;
  std::unique_ptr<ImageIndex> images_;
};

PipelineOptions Worker(const std::string& name, uint32_t num_view_seeds) {
  PipelineOptions options;
  options.worker = name;
  options.num_view_seeds = num_view_seeds;
  options.num_decode_threads = 2;
  options.num_encode_threads = 2;
  options.views_per_call = 8;
  return options;
}

TEST_F(PrecomputePipelineTest, StoresWhatTheTeacherComputesForEveryImageAndSeed) {
  Index(MemoryImageSource::WithPictures(37));
  const SetDescription description = Describe(TokenPolicy::kAll, 3);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PipelineReport report, Run(description, Worker("a", 2)));
  EXPECT_EQ(report.records, 74u);
  EXPECT_EQ(report.failed, 0u);
  EXPECT_TRUE(report.complete);
  EXPECT_EQ(teacher_.views_seen(), 74u);

  const std::shared_ptr<FeatureStore> store = Store(description);
  for (const ImageKey& key : images_->manifest().keys()) {
    for (uint32_t seed : {0u, 1u}) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes stored, ReadOne(*store, {key, seed}));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage image, images_->ReadImage(key));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
          const View view, MakeView(image, description.feature.view,
                                    DrawViewGeometry(key, description.feature.view, seed, image.width, image.height)));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
          const std::string expected,
          EncodeForSet(description, nullptr, {key, seed}, teacher_.RecordOf(view, description.set.levels)));
      EXPECT_TRUE(std::equal(stored.bytes.begin(), stored.bytes.end(), AsBytes(expected).begin(), AsBytes(expected).end()));
    }
  }
}

TEST_F(PrecomputePipelineTest, VisibleSetKeepsTheUnionOfItsMasks) {
  Index(MemoryImageSource::WithPictures(5));
  const SetDescription description = Describe(TokenPolicy::kVisible, 1);
  ASSERT_THAT(Run(description, Worker("a", 1)), IsOk());
  const std::shared_ptr<FeatureStore> store = Store(description);
  for (const ImageKey& key : images_->manifest().keys()) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes stored, ReadOne(*store, {key, 0}));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(stored.bytes));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
    ASSERT_EQ(record.masks.size(), 2u);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto drawn, DrawMask(description.set.mask, key, 0, 1, record.importance));
    EXPECT_EQ(record.masks[1], drawn);
    EXPECT_GE(record.num_tokens(), 6u);
    EXPECT_LE(record.num_tokens(), 11u);
    EXPECT_EQ(record.pixels.size(), (record.num_tokens() - 1) * 12u);
  }
}

TEST_F(PrecomputePipelineTest, UndecodablePictureIsRecordedAsFailedAndSkipped) {
  std::vector<std::string> files{"P5\n2 2\n255\nabcd", "this is no picture", "P5\n2 2\n255\nab"};
  Index(std::make_shared<MemoryImageSource>(files));
  const SetDescription description = Describe(TokenPolicy::kAll, 2);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PipelineReport report, Run(description, Worker("a", 2)));
  EXPECT_EQ(report.records, 6u);
  EXPECT_EQ(report.failed, 4u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto failures, catalog_.ListFailures(description.set.Id(), 10));
  ASSERT_EQ(failures.size(), 4u);
  for (const FailureEntry& failure : failures) EXPECT_THAT(failure.reason, HasSubstr("memory#"));
}

TEST_F(PrecomputePipelineTest, SecondRunComputesNothingAndAGrownNumberOfSeedsOnlyTheNewOnes) {
  Index(MemoryImageSource::WithPictures(20));
  const SetDescription description = Describe(TokenPolicy::kAll, 4);
  ASSERT_THAT(Run(description, Worker("a", 1)), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(PipelineReport again, Run(description, Worker("b", 1)));
  EXPECT_EQ(again.records, 0u);
  EXPECT_TRUE(again.complete);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(PipelineReport grown, Run(description, Worker("c", 3)));
  EXPECT_EQ(grown.records, 40u);
  EXPECT_EQ(teacher_.views_seen(), 60u);
}

TEST_F(PrecomputePipelineTest, GrownDataSetComputesOnlyTheNewImages) {
  Index(MemoryImageSource::WithPictures(20));
  const SetDescription description = Describe(TokenPolicy::kAll, 4);
  ASSERT_THAT(Run(description, Worker("a", 1)), IsOk());
  Index(MemoryImageSource::WithPictures(26));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(PipelineReport grown, Run(description, Worker("b", 1)));
  EXPECT_EQ(grown.records, 6u);
  EXPECT_EQ(teacher_.views_seen(), 26u);
}

TEST_F(PrecomputePipelineTest, WorkersShareTheUnitsAndEachRecordIsComputedOnce) {
  Index(MemoryImageSource::WithPictures(120));
  const SetDescription description = Describe(TokenPolicy::kAll, 12);
  FakeTeacher slow_a(std::chrono::milliseconds(3)), slow_b(std::chrono::milliseconds(3));
  absl::StatusOr<PipelineReport> report_a, report_b;
  std::thread a([&] { report_a = Run(description, Worker("a", 1), &slow_a); });
  std::thread b([&] { report_b = Run(description, Worker("b", 1), &slow_b); });
  a.join();
  b.join();
  ASSERT_THAT(report_a, IsOk());
  ASSERT_THAT(report_b, IsOk());
  EXPECT_EQ(report_a->records + report_b->records, 120u);
  EXPECT_EQ(report_a->units + report_b->units, 12u);
  EXPECT_EQ(slow_a.views_seen() + slow_b.views_seen(), 120u);
}

TEST_F(PrecomputePipelineTest, StopGivesLeasesBackAndKeepsWhatIsPublished) {
  Index(MemoryImageSource::WithPictures(200));
  const SetDescription description = Describe(TokenPolicy::kAll, 20);
  FakeTeacher slow(std::chrono::milliseconds(10));
  std::thread stopper([&] {
    while (slow.views_seen() < 60) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    RequestStop();
  });
  EXPECT_THAT(Run(description, Worker("a", 1), &slow), StatusIs(absl::StatusCode::kCancelled, HasSubstr("run the same command again")));
  stopper.join();
  ResetStopForTest();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog_.OpenSet(description.set.Id(), OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LedgerProgress progress, set.ledger->Progress(images_->manifest().digest(), 1));
  EXPECT_GT(progress.records_present, 0u);
  EXPECT_LT(progress.records_present, 200u);
  EXPECT_EQ(progress.units_leased, 0u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PipelineReport rest, Run(description, Worker("b", 1)));
  EXPECT_EQ(rest.records + progress.records_present, 200u);
}

TEST_F(PrecomputePipelineTest, FullStoreStopsWithItsErrorAndGoesOnLater) {
  uint64_t room = 30'000;
  InMemoryFeatureCatalog small({.clock = [] { return absl::Now(); }, .max_bytes_per_set = [&] { return room; }});
  Index(MemoryImageSource::WithPictures(60));
  ASSERT_THAT(small.PutManifest(images_->manifest()), IsOk());
  const SetDescription description = Describe(TokenPolicy::kAll, 10);
  ASSERT_THAT(small.CreateSet(description), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(OpenedSet set, small.OpenSet(description.set.Id(), OpenMode::kContribute));
  EXPECT_THAT(PrecomputePipeline(set, images_.get(), &teacher_, Worker("a", 1)).Run(nullptr),
              StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  room = 100'000'000;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LedgerProgress before, set.ledger->Progress(images_->manifest().digest(), 1));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PipelineReport rest,
                                  PrecomputePipeline(set, images_.get(), &teacher_, Worker("a", 1)).Run(nullptr));
  EXPECT_EQ(rest.records + before.records_present, 60u);
}

}  // namespace
}  // namespace afterimage
