#include "core/image/resize.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/golden_file.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using testing::GoldenFile;
using ::testing::HasSubstr;
using testing::StatusIs;

int64_t Modulo(int64_t value, int64_t divisor) { return (value % divisor + divisor) % divisor; }

// The picture that tests/golden/view_pixels.json describes by a formula.
RgbImage FormulaImage(const nlohmann::json& config) {
  RgbImage image;
  image.width = config.at("image").at(0);
  image.height = config.at("image").at(1);
  const int64_t e = config.at("e"), f = config.at("f"), n = config.at("n");
  for (int64_t y = 0; y < image.height; ++y) {
    for (int64_t x = 0; x < image.width; ++x) {
      for (int64_t c = 0; c < 3; ++c) {
        const int64_t t = config.at("a")[c].get<int64_t>() * x + config.at("b")[c].get<int64_t>() * y +
                          config.at("d")[c].get<int64_t>();
        const int64_t triangle = std::min<int64_t>(std::abs(Modulo(t, 512) - 256), 255);
        const int64_t value = triangle + Modulo(x * y * e + (x ^ y) * f + 37 * c, n) - n / 2;
        image.pixels.push_back(static_cast<uint8_t>(std::clamp<int64_t>(value, 0, 255)));
      }
    }
  }
  return image;
}

TEST(CropAndResizeTest, GivesPillowsPixels) {
  const GoldenFile golden(AFTERIMAGE_SOURCE_DIR, "view_pixels");
  int num_cases = 0;
  for (const auto& [name, config] : golden.description().at("config").at("cases").items()) {
    SCOPED_TRACE(name + ": " + config.at("what").get<std::string>());
    const RgbImage image = FormulaImage(config);
    ASSERT_EQ(std::accumulate(image.pixels.begin(), image.pixels.end(), int64_t{0}), config.at("image_sum"));
    const std::vector<uint32_t> box = config.at("box"), out = config.at("out");
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
        const RgbImage resized,
        CropAndResize(image, {box[0], box[1], box[2] - box[0], box[3] - box[1]}, out[0], out[1]));
    EXPECT_EQ(resized.width, out[0]);
    EXPECT_EQ(resized.height, out[1]);
    EXPECT_EQ(resized.pixels, golden.Tensor<uint8_t>("output." + name + ".crop_resize"));
    ++num_cases;
  }
  EXPECT_EQ(num_cases, 12);
}

RgbImage Noise(uint32_t width, uint32_t height) {
  RgbImage image{width, height, {}};
  uint32_t state = 1;
  for (size_t i = 0; i < size_t{3} * width * height; ++i) {
    state = state * 1664525 + 1013904223;
    image.pixels.push_back(static_cast<uint8_t>(state >> 24));
  }
  return image;
}

TEST(CropAndResizeTest, DoesNotLookBeyondTheBox) {
  const RgbImage image = Noise(40, 30);
  RgbImage other = image;
  const PixelBox box{10, 8, 20, 12};
  for (uint32_t y = 0; y < other.height; ++y) {
    for (uint32_t x = 0; x < other.width; ++x) {
      const bool inside = x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height;
      if (!inside) std::fill_n(other.Row(y) + 3 * x, 3, 0);
    }
  }
  EXPECT_EQ(CropAndResize(image, box, 33, 7)->pixels, CropAndResize(other, box, 33, 7)->pixels);
}

TEST(CropAndResizeTest, KeepsAFlatColour) {
  RgbImage image{50, 37, {}};
  for (size_t i = 0; i < 50 * 37; ++i) image.pixels.insert(image.pixels.end(), {0, 128, 255});
  for (const uint32_t side : {1u, 7u, 37u, 50u, 224u}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage resized, CropAndResize(image, {0, 0, 50, 37}, side, side));
    for (size_t i = 0; i < resized.pixels.size(); i += 3) {
      ASSERT_EQ(resized.pixels[i], 0);
      ASSERT_EQ(resized.pixels[i + 1], 128);
      ASSERT_EQ(resized.pixels[i + 2], 255);
    }
  }
}

TEST(CropAndResizeTest, RefusesBoxesThatDoNotFit) {
  const RgbImage image = Noise(10, 8);
  for (const PixelBox& box :
       {PixelBox{0, 0, 11, 8}, PixelBox{0, 0, 10, 9}, PixelBox{5, 0, 6, 1}, PixelBox{0, 0, 0, 1},
        PixelBox{0, 0, 1, 0}, PixelBox{0xffffffff, 0, 2, 1}, PixelBox{0, 0xffffffff, 1, 2}}) {
    EXPECT_THAT(CropAndResize(image, box, 4, 4),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("10 x 8")));
  }
  EXPECT_THAT(CropAndResize(image, {0, 0, 10, 8}, 0, 4),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 x 4")));
  EXPECT_THAT(CropAndResize(image, {0, 0, 10, 8}, 4, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4 x 0")));
}

TEST(ResizeAndCropTest, EqualsCroppingTheWholeResize) {
  const RgbImage image = Noise(61, 47);
  struct Case {
    uint32_t width, height;
    PixelBox region;
  };
  for (const auto& [width, height, region] :
       {Case{40, 31, {5, 3, 20, 20}}, Case{122, 94, {60, 70, 62, 24}}, Case{61, 94, {1, 2, 30, 50}},
        Case{30, 47, {29, 46, 1, 1}}, Case{61, 47, {7, 9, 11, 13}}, Case{47, 47, {0, 0, 47, 47}}}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage whole,
                                    CropAndResize(image, {0, 0, 61, 47}, width, height));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage part, ResizeAndCrop(image, width, height, region));
    ASSERT_EQ(part.width, region.width);
    ASSERT_EQ(part.height, region.height);
    for (uint32_t y = 0; y < region.height; ++y) {
      ASSERT_TRUE(
          std::equal(part.Row(y), part.Row(y) + 3 * region.width, whole.Row(region.y + y) + 3 * region.x));
    }
  }
}

TEST(ResizeAndCropTest, ComputesOnlyTheRegion) {
  // The whole resize would take 3 GB.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage part,
                                  ResizeAndCrop(Noise(1, 4000), 256, 4000 * 1000, {16, 2000000, 224, 224}));
  EXPECT_EQ(part.height, 224u);
}

TEST(ResizeAndCropTest, RefusesRegionsThatDoNotFit) {
  EXPECT_THAT(ResizeAndCrop(Noise(4, 4), 8, 8, {1, 0, 8, 8}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("8 x 8 resized")));
  EXPECT_THAT(ResizeAndCrop(RgbImage{}, 8, 8, {0, 0, 8, 8}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
}

}  // namespace
}  // namespace afterimage
