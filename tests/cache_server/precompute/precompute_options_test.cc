#include "cache_server/precompute/precompute_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cache_server/precompute/plan.h"
#include "core/feature/image_index.h"
#include "tests/testing/fake_teacher.h"
#include "tests/testing/memory_image_source.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::FakeTeacher;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ParseLevelsTest, TopAllAndLists) {
  EXPECT_THAT(ParseLevels("top2", 12), IsOkAndHolds(ElementsAre(11u, 12u)));
  EXPECT_THAT(ParseLevels("all", 3), IsOkAndHolds(ElementsAre(1u, 2u, 3u)));
  EXPECT_THAT(ParseLevels("12, 3,3", 12), IsOkAndHolds(ElementsAre(3u, 12u)));
  EXPECT_THAT(ParseLevels("top9", 3), IsOkAndHolds(ElementsAre(1u, 2u, 3u)));
}

TEST(ParseLevelsTest, RefusesLevelsThatDoNotExistAndTellsTheRange) {
  EXPECT_THAT(ParseLevels("13", 12), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to 12")));
  EXPECT_THAT(ParseLevels("top0", 12), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("above 0")));
  EXPECT_THAT(ParseLevels("last", 12), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("topN")));
}

TEST(DescribeSetTest, AMaskThatLeavesNothingAndLevelsThatDoNotExistAreRefused) {
  const FakeTeacher teacher;  // 3 levels over 16 patches
  PrecomputeOptions options;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription set, DescribeSet(options, teacher));
  EXPECT_EQ(set.set.mask.num_visible, 4u);
  options.mask_ratio = 0.95;
  EXPECT_THAT(DescribeSet(options, teacher),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("--mask-ratio 0.95"), HasSubstr("none of 16"))));
  for (const double ratio : {-0.1, 1.0, 1.5, std::nan("")}) {
    options.mask_ratio = ratio;
    EXPECT_THAT(DescribeSet(options, teacher),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("--mask-ratio"), HasSubstr("[0, 1)"))));
  }
  options.mask_ratio = 0;
  EXPECT_THAT(DescribeSet(options, teacher).status(), testing::IsOk());
  options.levels = "2,4";
  EXPECT_THAT(DescribeSet(options, teacher),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("'4'"), HasSubstr("1 to 3"))));
}

TEST(DescribeSetTest, PixelsArePackedUnlessTheyAreAskedForOtherwise) {
  const FakeTeacher teacher;
  PrecomputeOptions options;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription packed, DescribeSet(options, teacher));
  EXPECT_EQ(PixelsName(packed.set), "packed");
  for (const char* const name : {"raw", "none"}) {
    options.pixels = name;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription set, DescribeSet(options, teacher));
    EXPECT_EQ(PixelsName(set.set), name);
    EXPECT_NE(set.set.Id(), packed.set.Id());
  }
}

FeatureProfile ProfileOf(const Digest256& feature_id, uint32_t width, const std::vector<uint32_t>& levels) {
  ProfileContent content{.feature_id = feature_id, .width = width, .num_records = 1, .num_rows = 17};
  for (const uint32_t level : levels) {
    content.levels.push_back({level, std::vector<float>(width, 0.0f), std::vector<float>(width, 1.0f)});
  }
  return FeatureProfile::Create(content).value();
}

TEST(DescribeSetTest, I8xTakesAProfileOfTheSameFeatures) {
  const FakeTeacher teacher;
  PrecomputeOptions options;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription f16, DescribeSet(options, teacher));
  const uint32_t width = teacher.geometry().width;
  options.codec = "i8x";
  options.profile = "calibrated";
  const FeatureProfile good = ProfileOf(f16.set.feature_id, width, {1, 2, 3});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription set, DescribeSet(options, teacher, &good));
  EXPECT_EQ(set.set.codec, Codec::kI8x);
  EXPECT_EQ(set.set.profile_digest, good.digest());
  const FeatureProfile other = ProfileOf(Sha256({}), width, {1, 2, 3});
  EXPECT_THAT(DescribeSet(options, teacher, &other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("calibrated"), HasSubstr(Sha256({}).Hex()),
                             HasSubstr(f16.set.feature_id.Hex()))));
  const FeatureProfile few = ProfileOf(f16.set.feature_id, width, {3});
  EXPECT_THAT(DescribeSet(options, teacher, &few),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has no level 1")));
}

TEST(NamedCodecTest, TheDefaultIsI8xAndLimitsChooseInItsPlace) {
  PrecomputeOptions options;
  EXPECT_THAT(NamedCodec(options), IsOkAndHolds(::testing::Optional(Codec::kI8x)));
  EXPECT_TRUE(NeedsCalibration(options));
  options.codec = "f16";
  EXPECT_FALSE(NeedsCalibration(options));
  options.profile = "p";
  EXPECT_THAT(NamedCodec(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("leave --profile out")));
  options.codec = "i8x";
  EXPECT_FALSE(NeedsCalibration(options));
  options.max_rmse = 0.02;
  EXPECT_THAT(NamedCodec(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                            AllOf(HasSubstr("--max-rmse"), HasSubstr("leave --codec out"))));
  options.codec.clear();
  options.profile.clear();
  EXPECT_THAT(NamedCodec(options), IsOkAndHolds(std::nullopt));
  EXPECT_TRUE(NeedsCalibration(options));
}

class TeacherWithoutImportance : public FakeTeacher {
 public:
  Json TeacherSpec() const override { return {{"family", "fake"}, {"importance", kNoImportance}}; }
};

TEST(DescribeSetTest, ATeacherWithoutImportanceGetsRandomMasksOnlyWhenAskedTo) {
  const TeacherWithoutImportance teacher;
  PrecomputeOptions options;
  options.mask_ratio = 0.5;
  EXPECT_THAT(DescribeSet(options, teacher),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--mask-type random")));
  EXPECT_TRUE(DescribeSet(options, FakeTeacher()).ok());
  options.mask_type = "random";
  EXPECT_TRUE(DescribeSet(options, teacher).ok());
  options.tokens = "all";  // the masks are drawn by whoever trains
  options.mask_type = "attention";
  EXPECT_TRUE(DescribeSet(options, teacher).ok());
}

TEST(PlanTest, CountsAndSizesComeFromRealRecords) {
  FakeTeacher teacher;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto images, ImageIndex::Build(testing::MemoryImageSource::WithPictures(30), 1));
  PlanInput input;
  ViewSpec view;
  view.size = teacher.view_size();
  input.description.feature.geometry = teacher.geometry();
  input.description.feature.view = view;
  input.description.set.levels = {2, 3};
  input.description.set.token_policy = TokenPolicy::kAll;
  input.description.set.codec = Codec::kF16;
  input.num_view_seeds = 4;
  input.planned_epochs = 100;
  input.records_present = 20;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Plan plan, MakePlan(input, *images, teacher));
  EXPECT_EQ(plan.num_records, 120u);
  EXPECT_EQ(plan.records_to_compute, 100u);
  EXPECT_DOUBLE_EQ(plan.repeats_per_view, 25.0);
  // 2 levels x 17 tokens x 8 channels x 2 bytes, and 192 bytes of pixels, are what a record cannot do without.
  EXPECT_GT(plan.record_bytes, 2 * 17 * 8 * 2 + 192);
  EXPECT_NEAR(plan.pixel_share, 192 / plan.record_bytes, 1e-9);
  EXPECT_GE(static_cast<double>(plan.total_bytes), 120 * plan.record_bytes);
  EXPECT_THAT(plan.ToText(), HasSubstr("each view 25.0 times"));

  // What cannot be stored is told with its record.
  teacher.set_change([](FeatureRecord& record) { record.levels[1].values[40] = std::nanf(""); });
  EXPECT_THAT(MakePlan(input, *images, teacher).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(absl::StrCat("record ", images->manifest().keys()[0].Hex(),
                                              "/0: feature record: level 3, token 5"))));
}

TEST(ChooseLayoutTest, UnitsAreBoundedBySizeAndTime) {
  EXPECT_EQ(ChooseLayout(1000, 1000, 1e6).num_shards, 1u);
  EXPECT_EQ(ChooseLayout(1'281'167, 900'000, 1e9).num_shards, 4505u);       // by 256 MB
  EXPECT_EQ(ChooseLayout(15'000, 1000, 10, absl::Seconds(15)).num_shards, 100u);  // by 150 views a unit
}

}  // namespace
}  // namespace afterimage
