#include "core/analysis/cka.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace afterimage {
namespace {

std::vector<float> Normal(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.5f, 1.0f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

double Cka(uint32_t width_a, const std::vector<float>& a, uint32_t width_b, const std::vector<float>& b) {
  CkaAccumulator accumulator(width_a, width_b);
  const size_t half = a.size() / width_a / 2;
  accumulator.Add(std::span(a).first(half * width_a), std::span(b).first(half * width_b));
  accumulator.Add(std::span(a).subspan(half * width_a), std::span(b).subspan(half * width_b));
  EXPECT_EQ(accumulator.num_rows(), a.size() / width_a);
  return accumulator.Value();
}

TEST(CkaTest, IsOneUpToRotationScaleAndShift) {
  const std::vector<float> a = Normal(200 * 4, 1);
  std::vector<float> b(a.size());
  for (size_t row = 0; row < 200;
       ++row) {  // columns turned by 90 degrees in pairs, three times as large, shifted
    for (size_t c = 0; c < 4; c += 2) {
      b[row * 4 + c] = 3 * a[row * 4 + c + 1] + 7;
      b[row * 4 + c + 1] = -3 * a[row * 4 + c] - 2;
    }
  }
  EXPECT_NEAR(Cka(4, a, 4, b), 1, 1e-6);
}

TEST(CkaTest, OfIndependentNumbersItIsSmallAndOfAConstantNothing) {
  EXPECT_LT(Cka(4, Normal(4000, 1), 3, Normal(3000, 2)), 0.05);
  EXPECT_EQ(Cka(4, Normal(400, 1), 1, std::vector<float>(100, 2.0f)), 0);
}

// By hand: x = (-1, 0, 1), y = (0, -1, 1): |y^T x|^2 = 1, |x^T x| = |y^T y| = 2.
TEST(CkaTest, MatchesTheFormula) { EXPECT_NEAR(Cka(1, {4, 5, 6}, 1, {1, 0, 2}), 0.25, 1e-12); }

}  // namespace
}  // namespace afterimage
