#include "core/feature/pixel_residuals.h"

#include <random>
#include <vector>

#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;

constexpr PixelPredictor kPredictors[] = {PixelPredictor::kLeft, PixelPredictor::kUp,
                                          PixelPredictor::kGradient};

std::vector<uint8_t> Noise(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

// Two by two pixels: green 10 20 / 40 90, red 13 23 / 43 94, blue 9 19 / 39 88.
TEST(PixelResidualsTest, AreWhatTheFormatSays) {
  const std::vector<uint8_t> row = {13, 10, 9, 23, 20, 19, 43, 40, 39, 94, 90, 88};
  std::vector<uint8_t> scratch(12 + kPixelSlack), residuals(12 + kPixelSlack);
  const auto of = [&](PixelPredictor predictor, PixelColours colours) {
    ToResiduals({2, predictor, colours}, row.data(), scratch.data(), residuals.data());
    return std::vector<int>(residuals.begin(), residuals.begin() + 12);
  };
  EXPECT_THAT(of(PixelPredictor::kLeft, PixelColours::kLessGreen),
              ElementsAre(10, 10, 30, 50, 3, 0, 0, 1, 255, 0, 0, 255));
  EXPECT_THAT(of(PixelPredictor::kUp, PixelColours::kLessGreen),
              ElementsAre(10, 10, 30, 70, 3, 0, 0, 1, 255, 0, 0, 255));
  EXPECT_THAT(of(PixelPredictor::kGradient, PixelColours::kAsTheyAre),
              ElementsAre(10, 10, 30, 40, 13, 10, 30, 41, 9, 10, 30, 39));
}

TEST(PixelResidualsTest, EveryPatchComesBackAndBothWaysAgree) {
  for (const size_t p : {1, 2, 7, 8, 14, 15, 16, 17, 31, 32, 33, 104}) {
    const size_t size = 3 * p * p;
    const std::vector<uint8_t> row = Noise(size, static_cast<uint32_t>(p));
    for (const PixelPredictor predictor : kPredictors) {
      for (const PixelColours colours : {PixelColours::kAsTheyAre, PixelColours::kLessGreen}) {
        const PixelLayout layout{p, predictor, colours};
        // Exactly as large as they have to be, for AddressSanitizer.
        std::vector<uint8_t> scratch(size + kPixelSlack), residuals(size + kPixelSlack), back(size);
        internal::ToResidualsPortably(layout, row.data(), scratch.data(), residuals.data());
        internal::FromResidualsPortably(layout, residuals.data(), scratch.data(), back.data());
        EXPECT_EQ(back, row) << p;
        if (!internal::HasWidePixels()) continue;
        std::vector<uint8_t> wide(size + kPixelSlack);
        internal::ToResidualsWidely(layout, row.data(), scratch.data(), wide.data());
        EXPECT_TRUE(
            std::equal(wide.begin(), wide.begin() + static_cast<std::ptrdiff_t>(size), residuals.begin()));
        std::fill(back.begin(), back.end(), uint8_t{0});
        internal::FromResidualsWidely(layout, residuals.data(), scratch.data(), back.data());
        EXPECT_EQ(back, row) << p;
      }
    }
  }
}

}  // namespace
}  // namespace afterimage
