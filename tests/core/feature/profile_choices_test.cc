#include "core/feature/profile_choices.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Of a step of clip / 127 deviations, of all channels together.
double RoundingError(const std::vector<float>& sigma, float clip) {
  double squares = 0;
  for (const float one : sigma) squares += static_cast<double>(one) * one;
  return clip / (127 * std::sqrt(12.0)) * std::sqrt(squares / static_cast<double>(sigma.size()));
}

// Half of the channels are twice as wide as the others; the root of the mean square is `energy`.
std::vector<float> Sigma(size_t width, float energy) {
  std::vector<float> sigma;
  for (size_t c = 0; c < width; ++c) sigma.push_back(energy * (c % 2 == 0 ? 2.0f : 1.0f) / std::sqrt(2.5f));
  return sigma;
}

TEST(ProfileChoicesTest, TheClipIsFiveWhereTheErrorIsSmallAnyway) {
  for (const float energy : {0.0f, 0.1f, 0.57f, 0.86f}) EXPECT_EQ(ChooseI8xClip(Sigma(96, energy)), 5.0f);
  EXPECT_EQ(ChooseI8xClip(std::vector<float>{}), 5.0f);
}

TEST(ProfileChoicesTest, TheClipIsSmallerWhereDeviationsHoldTheEnergy) {
  for (const float energy : {0.87f, 0.9f, 0.97f, 1.0f}) {
    const std::vector<float> sigma = Sigma(112, energy);
    const float clip = ChooseI8xClip(sigma);
    EXPECT_LT(clip, 5.0f);
    EXPECT_GT(clip, 4.0f);
    EXPECT_NEAR(RoundingError(sigma, clip), kI8xRmseAim, 1e-6);
  }
  EXPECT_EQ(ChooseI8xClip(Sigma(112, 1.5f)), 4.0f);
}

TEST(ProfileChoicesTest, WideChannelsAreThoseOfTheLargestDeviation) {
  std::vector<float> sigma(112, 0.5f);
  EXPECT_THAT(ChooseWideChannels(sigma), ElementsAre(0, 1));  // of equal ones the first
  sigma[70] = 0.875f;
  sigma[3] = 1.0f;
  EXPECT_THAT(ChooseWideChannels(sigma), ElementsAre(3, 70));
  sigma[111] = 0.875f;
  EXPECT_THAT(ChooseWideChannels(sigma), ElementsAre(3, 70)) << "the fourth does not stand out";
  sigma[20] = 0.875f;
  EXPECT_THAT(ChooseWideChannels(sigma), ElementsAre(3, 20, 70, 111));
  EXPECT_THAT(ChooseWideChannels(std::vector<float>{}), IsEmpty());
  EXPECT_THAT(ChooseWideChannels(std::vector<float>{0.5f}), ElementsAre(0));
  EXPECT_THAT(ChooseWideChannels(std::vector<float>{0.5f, 0}), ElementsAre(0, 1));
  EXPECT_THAT(ChooseWideChannels(std::vector<float>{1, 2, 3}), ElementsAre(1, 2));
}

// Channels that stand out, among others that do not.
TEST(ProfileChoicesTest, ThereAreAsManyWideChannelsAsStandOutInPairs) {
  const auto with_far = [](size_t width, size_t num_far, float far) {
    std::vector<float> sigma(width, 0.5f);
    for (size_t i = 0; i < num_far; ++i) sigma[i] = far;
    return ChooseWideChannels(sigma).size();
  };
  EXPECT_EQ(with_far(768, 7, 1.5f), 6u);
  EXPECT_EQ(with_far(768, 33, 0.85f), 32u);
  EXPECT_EQ(with_far(768, 33, 0.75f), 2u) << "less than the root of 2.5";
  EXPECT_EQ(with_far(768, 42, 1.5f), 42u) << "one pair of 36 channels";
  EXPECT_EQ(with_far(768, 60, 1.5f), 42u);
  EXPECT_EQ(with_far(1024, 56, 1.5f), 56u);
  EXPECT_EQ(with_far(65536, 3640, 1.5f), 3640u);
}

// Scales of codes end at 1.5: with a wider deviation one value in twenty would be an exception.
TEST(ProfileChoicesTest, ChannelsThatCodesDoNotReachAreAllWide) {
  std::vector<float> sigma(24, 2.3f);
  EXPECT_EQ(ChooseWideChannels(sigma).size(), 24u);
  sigma.resize(23, 2.3f);
  EXPECT_EQ(ChooseWideChannels(sigma).size(), 23u);
  for (size_t c = 5; c < sigma.size(); ++c) sigma[c] = 1.5f;
  EXPECT_THAT(ChooseWideChannels(sigma), ElementsAre(0, 1, 2, 3, 4, 5));
}

}  // namespace
}  // namespace afterimage
