#include "core/view/view.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/image/decode.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {

void PrintTo(const ViewGeometry& geometry, std::ostream* os) {
  *os << geometry.box.width << " x " << geometry.box.height << " at (" << geometry.box.x << ", "
      << geometry.box.y << (geometry.flipped ? ") flipped" : ")") << " of " << geometry.image_width << " x "
      << geometry.image_height;
}

namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;

ImageKey KeyOf(const std::string& text) { return ImageKey::OfEncodedImage(AsBytes(text)); }

ViewSpec CenterCrop(uint32_t resize_shorter, uint32_t size) {
  ViewSpec spec;
  spec.crop = ViewSpec::Crop::kResizeCenterCrop;
  spec.resize_shorter = resize_shorter;
  spec.size = size;
  return spec;
}

struct GeometryCase {
  const char* key;
  uint32_t view_seed, width, height;
  PixelBox box;
  bool flipped;
};

void ExpectGeometries(const ViewSpec& spec, const std::vector<GeometryCase>& cases) {
  for (const auto& [key, view_seed, width, height, box, flipped] : cases) {
    EXPECT_EQ(DrawViewGeometry(KeyOf(key), spec, view_seed, width, height),
              (ViewGeometry{width, height, box, flipped}));
  }
}

// The vectors are printed by reference.py.
TEST(DrawViewGeometryTest, GoldenRandomResizedCrops) {
  ExpectGeometries(ViewSpec{},
                   {
                       {"a", 0u, 500, 375, {28, 4, 420, 348}, false},
                       {"a", 1u, 500, 375, {23, 99, 236, 214}, false},
                       {"b", 0u, 500, 375, {134, 30, 268, 294}, true},
                       {"a", 4294967295u, 500, 375, {147, 19, 289, 270}, true},
                       {"c", 2u, 28, 28, {3, 8, 22, 19}, true},
                       {"d", 3u, 1, 1, {0, 0, 1, 1}, true},
                       {"e", 4u, 2000, 10, {993, 0, 13, 10}, true},           // the centre fallback
                       {"f", 5u, 10, 2000, {0, 993, 10, 13}, true},           // the centre fallback
                       {"g", 6u, 65500, 4000, {30083, 0, 5333, 4000}, true},  // the centre fallback
                       {"h", 7u, 3, 2, {2, 1, 1, 1}, false},
                       {"i", 8u, 64, 48, {5, 7, 36, 40}, true},
                       {"j", 9u, 224, 224, {9, 36, 211, 175}, true},
                   });
}

TEST(DrawViewGeometryTest, GoldenCropsOfAnotherDistribution) {
  ViewSpec spec;
  spec.min_area = {1, 10};
  spec.max_area = {1, 2};
  spec.min_aspect = {1, 2};
  spec.max_aspect = {3, 1};
  spec.flip_probability = {3, 4};
  ExpectGeometries(spec, {
                             {"a", 0u, 640, 480, {189, 135, 379, 317}, true},
                             {"b", 1u, 31, 77, {0, 25, 19, 29}, true},
                             {"c", 2u, 1000, 1000, {152, 520, 690, 379}, true},
                         });
}

TEST(DrawViewGeometryTest, FollowsTheDistribution) {
  constexpr int kDraws = 20000;
  const ViewSpec spec;
  double area_sum = 0, log_aspect_sum = 0;
  int num_flipped = 0;
  for (int i = 0; i < kDraws; ++i) {
    const ViewGeometry geometry = DrawViewGeometry(KeyOf("distribution"), spec, i, 10000, 10000);
    const PixelBox& box = geometry.box;
    ASSERT_LE(box.x + box.width, 10000u);
    ASSERT_LE(box.y + box.height, 10000u);
    const double area = box.width * 1e-4 * box.height * 1e-4,
                 aspect = static_cast<double>(box.width) / box.height;
    ASSERT_GT(area, 0.2 - 1e-3);
    ASSERT_GT(aspect, 0.75 - 1e-3);
    ASSERT_LT(aspect, 4.0 / 3 + 1e-3);
    area_sum += area;
    log_aspect_sum += std::log(aspect);
    num_flipped += geometry.flipped;
  }
  // The aspect ratio is symmetric and half of the crops are flipped: five standard errors (0.166 and 0.5 /
  // sqrt(n)).
  EXPECT_NEAR(log_aspect_sum / kDraws, 0.0, 5 * 0.166 / std::sqrt(kDraws));
  EXPECT_NEAR(static_cast<double>(num_flipped) / kDraws, 0.5, 5 * 0.5 / std::sqrt(kDraws));
  // Uniform areas have mean 0.6; those that do not fit at their aspect ratio are drawn again, so it is less.
  // 200,000 draws of torchvision's algorithm in Python give 0.538, with a deviation of 0.2.
  EXPECT_NEAR(area_sum / kDraws, 0.538, 5 * 0.2 / std::sqrt(kDraws));
}

TEST(DrawViewGeometryTest, FlipProbabilityIsKept) {
  ViewSpec spec;
  spec.flip_probability = {0, 1};
  for (uint32_t seed = 0; seed < 50; ++seed)
    EXPECT_FALSE(DrawViewGeometry(KeyOf("a"), spec, seed, 50, 40).flipped);
  spec.flip_probability = {1, 1};
  for (uint32_t seed = 0; seed < 50; ++seed)
    EXPECT_TRUE(DrawViewGeometry(KeyOf("a"), spec, seed, 50, 40).flipped);
}

TEST(DrawViewGeometryTest, AFlipDoesNotMoveTheCrop) {
  ViewSpec never;
  never.flip_probability = {0, 1};
  for (uint32_t seed = 0; seed < 50; ++seed) {
    EXPECT_EQ(DrawViewGeometry(KeyOf("a"), never, seed, 50, 40).box,
              DrawViewGeometry(KeyOf("a"), {}, seed, 50, 40).box);
  }
}

TEST(DrawViewGeometryTest, CenterCropsAreTorchvisions) {
  // Sizes and offsets as torchvision.transforms.Resize(256) and CenterCrop(224): halves round to even.
  const struct {
    uint32_t width, height;
    PixelBox box;
  } cases[] = {{500, 375, {58, 16, 224, 224}},
               {375, 500, {16, 58, 224, 224}},
               {256, 256, {16, 16, 224, 224}},
               {343, 256, {60, 16, 224, 224}},
               {1, 1000, {16, 127888, 224, 224}}};
  for (const auto& [width, height, box] : cases) {
    const ViewGeometry expected{width, height, box, false};
    EXPECT_EQ(DrawViewGeometry(KeyOf("a"), CenterCrop(256, 224), 0, width, height), expected);
    EXPECT_EQ(DrawViewGeometry(KeyOf("b"), CenterCrop(256, 224), 9, width, height), expected);
  }
}

TEST(DrawViewGeometryTest, IsEmptyForAnEmptyImageOrABadSpec) {
  EXPECT_EQ(DrawViewGeometry(KeyOf("a"), {}, 0, 0, 5).box, PixelBox{});
  ViewSpec bad;
  bad.min_aspect = {0, 1};
  EXPECT_EQ(DrawViewGeometry(KeyOf("a"), bad, 0, 5, 5).box, PixelBox{});
  EXPECT_EQ(DrawViewGeometry(KeyOf("a"), CenterCrop(10, 20), 0, 5, 5).box, PixelBox{});
}

// The vectors are printed by reference_views.py: Pillow's pixels.
struct ViewCase {
  const char* file;
  uint32_t seed_or_shorter;  // view seed, or shorter side before the centre crop
  uint32_t size;
  PixelBox box;
  bool flipped;
  uint64_t digest;
};

void ExpectViews(bool center_crop, const std::vector<ViewCase>& cases) {
  for (const auto& [file, seed_or_shorter, size, box, flipped, digest] : cases) {
    SCOPED_TRACE(std::string(file) + " " + std::to_string(seed_or_shorter) + " " + std::to_string(size));
    const std::string encoded =
        ReadFile(std::string(AFTERIMAGE_SOURCE_DIR) + "/tests/core/image/data/" + file).value();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage image, DecodeImage(AsBytes(encoded)));
    ViewSpec spec = center_crop ? CenterCrop(seed_or_shorter, size) : ViewSpec{};
    spec.size = size;
    const ViewGeometry geometry =
        DrawViewGeometry(ImageKey::OfEncodedImage(AsBytes(encoded)), spec, center_crop ? 0 : seed_or_shorter,
                         image.width, image.height);
    EXPECT_EQ(geometry, (ViewGeometry{image.width, image.height, box, flipped}));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const View view, MakeView(image, spec, geometry));
    EXPECT_EQ(view.geometry, geometry);
    EXPECT_EQ(view.pixels.width, size);
    EXPECT_EQ(view.pixels.height, size);
    EXPECT_EQ(view.digest, digest);
    EXPECT_EQ(ViewDigest(view.pixels), digest);
  }
}

TEST(MakeViewTest, GoldenRandomResizedCrops) {
  ExpectViews(false, {
                         {"photo_420.jpg", 0, 224, {24, 7, 23, 30}, false, 0x53d17286693b0824},
                         {"photo_420.jpg", 1, 224, {15, 1, 31, 26}, true, 0xbb5346c7ae0253b7},
                         {"photo_420.jpg", 2, 28, {4, 2, 43, 43}, true, 0x1ba09bc7bc31fb89},
                         {"photo_420.jpg", 3, 28, {2, 5, 37, 38}, true, 0x7966b491fa42cd9d},
                         {"photo_420.jpg", 4, 64, {18, 19, 36, 27}, true, 0xa1d5c676942dd2ca},
                         {"rgba.png", 0, 224, {22, 12, 37, 32}, true, 0x6fbdb76910ec2bf8},
                         {"rgba.png", 1, 224, {6, 1, 38, 46}, false, 0x4bdd9b64b2f86119},
                         {"rgba.png", 2, 28, {13, 2, 46, 35}, false, 0x6799e6f794dfbb9c},
                         {"rgba.png", 3, 28, {14, 14, 29, 28}, false, 0xf593ef3df162b298},
                         {"rgba.png", 4, 64, {26, 0, 31, 36}, true, 0xf533148c7209932a},
                     });
}

TEST(MakeViewTest, GoldenCenterCrops) {
  ExpectViews(true, {
                        {"photo_420.jpg", 32, 28, {6, 2, 28, 28}, false, 0xd72ae27993243819},
                        {"photo_420.jpg", 256, 224, {54, 16, 224, 224}, false, 0xc3ba84bb736f08d4},
                        {"photo_420.jpg", 47, 40, {10, 4, 40, 40}, false, 0x0f3c6255907ba705},
                        {"photo_420.jpg", 33, 20, {11, 6, 20, 20}, false, 0x24c5c5021714dfcf},
                        {"rgba.png", 32, 28, {6, 2, 28, 28}, false, 0x41b89bfa8543bd63},
                        {"rgba.png", 256, 224, {54, 16, 224, 224}, false, 0x08e392fa603329b0},
                        {"rgba.png", 47, 40, {10, 4, 40, 40}, false, 0x4f1c5af2e6f101f7},
                        {"rgba.png", 33, 20, {11, 6, 20, 20}, false, 0xd691303f14bf1ff1},
                    });
}

RgbImage Gradient(uint32_t width, uint32_t height) {
  RgbImage image{width, height, {}};
  for (uint32_t y = 0; y < height; ++y) {
    for (uint32_t x = 0; x < width; ++x) {
      for (const uint32_t value : {x, y, 7u}) image.pixels.push_back(static_cast<uint8_t>(value));
    }
  }
  return image;
}

TEST(MakeViewTest, FlipsAfterTheResize) {
  const RgbImage image = Gradient(4, 3);
  ViewSpec spec;
  spec.size = 3;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const View view, MakeView(image, spec, {4, 3, {1, 0, 3, 3}, true}));
  for (uint32_t y = 0; y < 3; ++y) {
    for (uint32_t x = 0; x < 3; ++x) {
      EXPECT_EQ(view.pixels.Row(y)[3 * x], 3 - x);
      EXPECT_EQ(view.pixels.Row(y)[3 * x + 1], y);
      EXPECT_EQ(view.pixels.Row(y)[3 * x + 2], 7);
    }
  }
}

TEST(MakeViewTest, TheDigestIsXxh3OfTheRows) {
  // python3 -c "import xxhash; print(hex(xxhash.xxh3_64_intdigest(bytes([0,0,7,1,0,7,0,1,7,1,1,7]))))"
  EXPECT_EQ(ViewDigest(Gradient(2, 2)), 0xe57be804ae0a5c37u);
}

TEST(MakeViewTest, RefusesGeometriesThatDoNotFit) {
  const RgbImage image = Gradient(10, 8);
  ViewSpec spec;
  spec.size = 4;
  EXPECT_THAT(MakeView(image, spec, {11, 8, {0, 0, 4, 4}, false}),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("11 x 8"), HasSubstr("10 x 8"))));
  EXPECT_THAT(MakeView(image, spec, {10, 8, {7, 0, 4, 4}, false}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("crop box")));
  EXPECT_THAT(MakeView(image, CenterCrop(8, 4), {10, 8, {0, 0, 5, 5}, false}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("centre crop")));
  EXPECT_THAT(MakeView(image, CenterCrop(8, 4), {10, 8, {7, 0, 4, 4}, false}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("10 x 8 resized")));
  EXPECT_THAT(MakeView(RgbImage{}, spec, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  spec.size = 0;
  EXPECT_THAT(MakeView(image, spec, {10, 8, {0, 0, 4, 4}, false}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("size")));
}

}  // namespace
}  // namespace afterimage
