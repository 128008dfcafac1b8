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
  std::vector<float> sigma(112, 1.0f);  // no number of them brings the error down: one pair of 56
  sigma[70] = 1.5f;
  sigma[3] = 2.0f;
  sigma[111] = 1.25f;
  EXPECT_THAT(ChooseWideChannels(sigma), ElementsAre(0, 3, 70, 111));  // of equal ones the first
  EXPECT_THAT(ChooseWideChannels(std::vector<float>{}), IsEmpty());
  EXPECT_THAT(ChooseWideChannels(std::vector<float>{0.5f}), ElementsAre(0));
  EXPECT_THAT(ChooseWideChannels(std::vector<float>{0.5f, 0}), ElementsAre(0, 1));
  EXPECT_THAT(ChooseWideChannels(std::vector<float>{1, 2, 3}), ElementsAre(1, 2));
  EXPECT_EQ(ChooseWideChannels(std::vector<float>(65536, 1.0f)).size(), 2u * (65536 / 56));
}

// 768 channels whose others have an error of 0.0402 only from some number of wide ones on.
TEST(ProfileChoicesTest, ThereAreAsManyWideChannelsAsTheErrorNeeds) {
  const double enough = kI4xRmseAim / std::sqrt(0.009497);
  const auto with_far = [&](size_t num_far, double rest) {
    std::vector<float> sigma(768, static_cast<float>(rest));
    for (size_t i = 0; i < num_far; ++i) sigma[i] = 3.0f;
    return ChooseWideChannels(sigma).size();
  };
  EXPECT_EQ(with_far(2, 0.3), 26u);              // the least: 13 pairs
  EXPECT_EQ(with_far(33, enough - 0.001), 34u);  // without those 33 it is met
  EXPECT_EQ(with_far(42, enough - 0.001), 42u);  // the most: 21 pairs
  EXPECT_EQ(with_far(43, enough - 0.001), 26u);  // too many: the bytes would buy nothing that is promised
}

}  // namespace
}  // namespace afterimage
