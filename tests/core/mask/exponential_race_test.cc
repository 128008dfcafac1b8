#include "core/mask/exponential_race.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace afterimage::mask_internal {
namespace {

TEST(MakeRunnerTest, KeepsTheWeightExactly) {
  for (const float weight :
       {1.0f, 0.1f, 3.5e-20f, 1e30f, std::numeric_limits<float>::denorm_min(),
        std::numeric_limits<float>::min(), std::numeric_limits<float>::max(), 0.0f, -0.0f}) {
    const Runner runner = MakeRunner(0, weight, 1);
    EXPECT_EQ(std::ldexp(static_cast<double>(runner.mantissa), runner.exponent),
              static_cast<double>(std::abs(weight)));
    EXPECT_LT(runner.mantissa, 1u << 24);
  }
}

TEST(MakeRunnerTest, TimeIsTheLogarithmOfTheRandomNumber) {
  EXPECT_EQ(MakeRunner(0, 1.0f, 1).time, uint64_t{64} << 32);
  EXPECT_EQ(MakeRunner(0, 1.0f, 0).time, uint64_t{64} << 32);
  EXPECT_EQ(MakeRunner(0, 1.0f, uint64_t{1} << 63).time, uint64_t{1} << 32);
  EXPECT_EQ(MakeRunner(0, 1.0f, ~uint64_t{0}).time, 1u);
}

Runner Make(uint32_t mantissa, int32_t exponent, uint64_t time, uint16_t patch) {
  return {mantissa, exponent, time, patch};
}

TEST(DrawnBeforeTest, ComparesWeightOverTime) {
  EXPECT_TRUE(DrawnBefore(Make(2, 0, 1, 1), Make(1, 0, 1, 0)));
  EXPECT_TRUE(DrawnBefore(Make(1, 0, 1, 1), Make(1, 0, 2, 0)));
  EXPECT_FALSE(DrawnBefore(Make(1, 0, 2, 0), Make(1, 0, 1, 1)));
  // 2^24 - 1 over 2^38 against 2^24 - 2 over 2^38 - 1: differ in the last of 62 bits.
  const uint64_t latest = uint64_t{64} << 32;
  EXPECT_TRUE(DrawnBefore(Make(0xffffff, 0, latest, 1), Make(0xfffffe, 0, latest - 1, 0)));
  // Exponents far apart, both ways.
  EXPECT_TRUE(DrawnBefore(Make(1, 100, latest, 1), Make(0xffffff, -149, 1, 0)));
  EXPECT_FALSE(DrawnBefore(Make(0xffffff, -149, 1, 0), Make(1, 100, latest, 1)));
}

TEST(DrawnBeforeTest, TiesGoToTheSmallerPatch) {
  EXPECT_TRUE(DrawnBefore(Make(1, 1, 4, 3), Make(1, 0, 2, 4)));
  EXPECT_FALSE(DrawnBefore(Make(1, 1, 4, 4), Make(1, 0, 2, 3)));
  EXPECT_FALSE(DrawnBefore(Make(1, 1, 4, 3), Make(1, 1, 4, 3)));
}

TEST(DrawnBeforeTest, ZeroWeightsComeLastInTheOrderOfTheirTimes) {
  EXPECT_TRUE(DrawnBefore(Make(1, -149, uint64_t{64} << 32, 5), Make(0, -149, 1, 0)));
  EXPECT_FALSE(DrawnBefore(Make(0, -149, 1, 0), Make(1, -149, uint64_t{64} << 32, 5)));
  EXPECT_TRUE(DrawnBefore(Make(0, 0, 1, 7), Make(0, 0, 2, 6)));
  EXPECT_TRUE(DrawnBefore(Make(0, 0, 2, 6), Make(0, 0, 2, 7)));
}

TEST(DrawnBeforeTest, IsAStrictOrder) {
  std::vector<Runner> runners;
  uint64_t state = 1;
  for (uint16_t i = 0; i < 60; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    runners.push_back(MakeRunner(
        i, i % 7 == 0 ? 0.0f : std::ldexp(1.0f + i % 3, static_cast<int>(i) % 40 - 20), state | 1));
  }
  std::sort(runners.begin(), runners.end(), DrawnBefore);
  for (size_t i = 0; i < runners.size(); ++i) {
    for (size_t j = 0; j < runners.size(); ++j) ASSERT_EQ(DrawnBefore(runners[i], runners[j]), i < j);
  }
}

}  // namespace
}  // namespace afterimage::mask_internal
