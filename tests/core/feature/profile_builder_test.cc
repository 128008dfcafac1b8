#include "core/feature/profile_builder.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/feature/profile_choices.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::afterimage::testing::MakeSyntheticDescription;
using ::afterimage::testing::MakeSyntheticRecord;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::SyntheticImageKey;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<uint32_t> kLevels = {3, 4};

std::vector<FeatureRecord> Records(uint64_t count) {
  std::vector<FeatureRecord> records;
  for (uint64_t i = 0; i < count; ++i) {
    records.push_back(MakeSyntheticRecord(MakeSyntheticDescription(), {SyntheticImageKey(i), 0}));
  }
  return records;
}

ProfileBuilder Builder() { return ProfileBuilder(Sha256({}), kLevels, 24); }

TEST(ProfileBuilderTest, MeansAndDeviationsAreThoseOfTwoPassesInDouble) {
  const std::vector<FeatureRecord> records = Records(20);
  ProfileBuilder builder = Builder();
  for (const FeatureRecord& record : records) AFTERIMAGE_ASSERT_OK(builder.Add(record));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile profile, builder.Finish());
  EXPECT_EQ(profile.feature_id(), Sha256({}));
  EXPECT_EQ(profile.content().num_records, 20u);
  EXPECT_EQ(profile.content().num_rows, 20u * 17);
  for (size_t l = 0; l < 2; ++l) {
    for (size_t channel = 0; channel < 24; ++channel) {
      double sum = 0, squares = 0;
      for (const FeatureRecord& record : records) {
        for (size_t row = 0; row < 17; ++row) sum += record.levels[l].values[row * 24 + channel];
      }
      const double mean = sum / (20 * 17);
      for (const FeatureRecord& record : records) {
        for (size_t row = 0; row < 17; ++row) {
          squares += std::pow(record.levels[l].values[row * 24 + channel] - mean, 2);
        }
      }
      EXPECT_NEAR(profile.content().levels[l].mean[channel], mean, 1e-6);
      EXPECT_NEAR(profile.content().levels[l].sigma[channel], std::sqrt(squares / (20 * 17)), 1e-6);
    }
  }
}

TEST(ProfileBuilderTest, NeitherOrderNorNumberOfBuildersMatters) {
  const std::vector<FeatureRecord> records = Records(12);
  ProfileBuilder forward = Builder();
  for (const FeatureRecord& record : records) AFTERIMAGE_ASSERT_OK(forward.Add(record));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile expected, forward.Finish());

  std::vector<ProfileBuilder> spread(3, Builder());
  for (size_t i = records.size(); i-- > 0;) AFTERIMAGE_ASSERT_OK(spread[i * 7 % 3].Add(records[i]));
  spread[2].Merge(spread[0]);
  spread[2].Merge(spread[1]);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile merged, spread[2].Finish());
  EXPECT_EQ(merged.digest(), expected.digest());
}

TEST(ProfileBuilderTest, WhatFollowsFromTheMomentsIsChosen) {
  ProfileBuilder builder = Builder();
  for (const FeatureRecord& record : Records(5)) AFTERIMAGE_ASSERT_OK(builder.Add(record));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile profile, builder.Finish());
  for (const LevelProfile& level : profile.content().levels) {
    EXPECT_EQ(level.i8x_clip, ChooseI8xClip(level.sigma));
    EXPECT_EQ(level.wide, ChooseWideChannels(level.sigma));
    EXPECT_FALSE(level.wide.empty());
  }
}

// A naive sum of squares loses everything here: the mean is 10^4 times the deviation.
TEST(ProfileBuilderTest, SmallDeviationsOfLargeMeansAreKept) {
  FeatureRecord record = Records(1).front();
  for (size_t row = 0; row < record.tokens.size(); ++row) {
    record.levels[0].values[row * 24 + 5] = 200.0f + (row % 2 == 0 ? 0.015625f : -0.015625f);
    record.levels[0].values[row * 24 + 6] = -3.25f;
  }
  record.levels[0].values[16 * 24 + 5] = 200.0f;  // 8 above, 8 below, one at the mean
  ProfileBuilder builder = Builder();
  for (int i = 0; i < 1000; ++i) AFTERIMAGE_ASSERT_OK(builder.Add(record));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile profile, builder.Finish());
  EXPECT_EQ(profile.FindLevel(3)->mean[5], 200.0f);
  EXPECT_NEAR(profile.FindLevel(3)->sigma[5], 0.015625 * std::sqrt(16.0 / 17), 1e-8);
  EXPECT_EQ(profile.FindLevel(3)->mean[6], -3.25f);
  EXPECT_EQ(profile.FindLevel(3)->sigma[6], 0.0f);
}

TEST(ProfileBuilderTest, RefusesWhatIsNoFeatureAndAddsNothingOfIt) {
  ProfileBuilder builder = Builder();
  EXPECT_THAT(builder.Finish(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no records")));
  const FeatureRecord good = Records(1).front();
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -256.5f}) {
    FeatureRecord record = good;
    record.levels[1].values[2 * 24 + 7] = bad;
    EXPECT_THAT(builder.Add(record),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("level 4, token 2, channel 7")));
  }
  FeatureRecord narrow = good;
  narrow.levels.pop_back();
  EXPECT_THAT(builder.Add(narrow),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no level 4 of width 24")));
  AFTERIMAGE_ASSERT_OK(builder.Add(good));
  ProfileBuilder only = Builder();
  AFTERIMAGE_ASSERT_OK(only.Add(good));
  EXPECT_EQ(builder.Finish()->digest(), only.Finish()->digest());
}

}  // namespace
}  // namespace afterimage
