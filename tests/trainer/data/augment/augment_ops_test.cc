// Single operations against Pillow and timm, byte for byte (data/generate.py).
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "core/tensors/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "trainer/data/augment/colour_ops.h"
#include "trainer/data/augment/rand_augment.h"

namespace afterimage::trainer {
namespace {

constexpr char kFile[] = AFTERIMAGE_SOURCE_DIR "/tests/trainer/data/augment/data/pillow_ops.safetensors";
constexpr RgbPixel kFill = {124, 116, 104};

RgbImage ToImage(const TensorView& view) {
  RgbImage image;
  image.height = static_cast<uint32_t>(view.shape[0]);
  image.width = static_cast<uint32_t>(view.shape[1]);
  const auto* bytes = reinterpret_cast<const uint8_t*>(view.data.data());
  image.pixels.assign(bytes, bytes + view.data.size());
  return image;
}

const std::map<std::string, AugmentOp>& Ops() {
  static const auto& ops = *new std::map<std::string, AugmentOp>{{"auto_contrast", AugmentOp::kAutoContrast},
                                                                 {"equalize", AugmentOp::kEqualize},
                                                                 {"invert", AugmentOp::kInvert},
                                                                 {"rotate", AugmentOp::kRotate},
                                                                 {"posterize", AugmentOp::kPosterize},
                                                                 {"solarize", AugmentOp::kSolarize},
                                                                 {"solarize_add", AugmentOp::kSolarizeAdd},
                                                                 {"colour", AugmentOp::kColour},
                                                                 {"contrast", AugmentOp::kContrast},
                                                                 {"brightness", AugmentOp::kBrightness},
                                                                 {"sharpness", AugmentOp::kSharpness},
                                                                 {"shear_x", AugmentOp::kShearX},
                                                                 {"shear_y", AugmentOp::kShearY},
                                                                 {"translate_x", AugmentOp::kTranslateX},
                                                                 {"translate_y", AugmentOp::kTranslateY}};
  return ops;
}

class AugmentOpTest : public ::testing::TestWithParam<std::string> {};

TEST_P(AugmentOpTest, EveryPixelIsPillows) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(kFile));
  int num_cases = 0, num_changed = 0;
  for (const auto& [name, view] : file->tensors()) {
    // "<picture>.<operation>.<magnitude>.<direction>", the magnitude perhaps with a decimal point
    const std::vector<std::string> parts = absl::StrSplit(name, '.');
    if (parts.size() < 4 || parts[1] != GetParam()) continue;
    const std::string magnitude = name.substr(parts[0].size() + parts[1].size() + 2,
                                              name.size() - parts[0].size() - parts[1].size() - 4);
    double value = 0;
    ASSERT_TRUE(absl::SimpleAtod(magnitude, &value)) << name;
    const RgbImage image = ToImage(file->tensors().at(parts[0]));
    const RgbImage result = ApplyAugmentOp(image, Ops().at(parts[1]), value, parts.back() == "-", kFill);
    EXPECT_EQ(result.width, image.width);
    EXPECT_EQ(result.height, image.height);
    EXPECT_TRUE(result.pixels == ToImage(view).pixels) << name;
    num_changed += result.pixels != image.pixels ? 1 : 0;
    ++num_cases;
  }
  EXPECT_GE(num_cases, 6);
  EXPECT_GE(num_changed, 2);
}

INSTANTIATE_TEST_SUITE_P(All, AugmentOpTest, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& [name, op] : Ops()) names.push_back(name);
                           return names;
                         }()),
                         [](const auto& info) { return info.param; });

TEST(RandAugmentTest, TimmsTextIsRead) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RandAugment published, ParseRandAugment("rand-m9-mstd0.5-inc1"));
  EXPECT_EQ(published, (RandAugment{.magnitude = 9, .deviation = 0.5, .num_ops = 2, .probability = 0.5}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RandAugment other, ParseRandAugment("rand-m7-n3-mstd1-p0.25-inc1"));
  EXPECT_EQ(other, (RandAugment{.magnitude = 7, .deviation = 1, .num_ops = 3, .probability = 0.25}));
}

TEST(RandAugmentTest, WhatIsNotKnownIsRefused) {
  using ::afterimage::testing::StatusIs;
  using ::testing::AllOf;
  using ::testing::HasSubstr;
  for (const auto& [text, problem] :
       std::map<std::string, std::string>{{"augmix-m3", "the policy"},
                                          {"rand-m9-mstd0.5", "without inc1"},
                                          {"rand-m11-inc1", "\"m11\" is out of"},
                                          {"rand-w0-inc1", "\"w0\""},
                                          {"rand-m-inc1", "no key with a"},
                                          {"rand-n0-inc1", "\"n0\""}}) {
    EXPECT_THAT(ParseRandAugment(text).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(text), HasSubstr(problem), HasSubstr("rand-m9-mstd0.5-inc1"))));
  }
}

// Pictures on which every operation shows.
RgbImage Picture() {
  RgbImage image{16, 16, std::vector<uint8_t>(16 * 16 * 3)};
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<uint8_t>(40 + i * 7919 % 150);
  return image;
}

TEST(RandAugmentTest, IsAFunctionOfSeedEpochAndOccurrence) {
  const RandAugment policy{.probability = 1};
  const auto apply = [&](uint64_t seed, uint32_t epoch, uint32_t place) {
    return policy.Apply(Picture(), kFill, AugmentRandom(seed, epoch, place, AugmentPurpose::kRandAugment))
        .pixels;
  };
  int num_different = 0;
  for (uint32_t place = 0; place < 20; ++place) {
    EXPECT_TRUE(apply(1, 2, place) == apply(1, 2, place));
    num_different += apply(1, 2, place) != apply(2, 2, place);
    num_different += apply(1, 2, place) != apply(1, 3, place);
    num_different += apply(1, 2, place) != apply(1, 2, place + 1);
  }
  EXPECT_GE(num_different, 55);
}

TEST(RandAugmentTest, EachOperationIsAppliedWithItsProbability) {
  int num_unchanged = 0;
  constexpr int kNumViews = 2000;
  for (int place = 0; place < kNumViews; ++place) {
    const AugmentRandom random(7, 0, static_cast<uint32_t>(place), AugmentPurpose::kRandAugment);
    num_unchanged += RandAugment().Apply(Picture(), kFill, random).pixels == Picture().pixels;
  }
  // Neither of two operations: a quarter. Some of the others change nothing either.
  EXPECT_GT(num_unchanged, kNumViews * 0.23);
  EXPECT_LT(num_unchanged, kNumViews * 0.31);
}

}  // namespace
}  // namespace afterimage::trainer
