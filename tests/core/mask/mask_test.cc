#include "core/mask/mask.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/golden_file.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GoldenFile;
using ::testing::HasSubstr;
using testing::IsOkAndHolds;
using testing::StatusIs;

ImageKey KeyOf(const std::string& text) { return ImageKey::OfEncodedImage(AsBytes(text)); }

// 49 weights: multiples of 1/1024.
std::vector<float> Weights() {
  std::vector<float> weights;
  for (int i = 0; i < 49; ++i) weights.push_back(static_cast<float>(i * 37 % 101) / 1024.0f);
  return weights;
}

// The vectors are printed by tests/core/view/reference.py.
TEST(DrawMaskTest, GoldenAttentionMasks) {
  const struct {
    const char* key;
    uint32_t view_seed, mask_seed, mask_index;
    std::vector<uint16_t> visible;
  } cases[] = {
      {"a", 0, 0, 0, {37, 29, 24, 18, 46, 26, 39, 22, 47, 5, 4, 38, 27, 12}},
      {"a", 0, 0, 1, {25, 38, 5, 42, 7, 35, 10, 27, 4, 19, 45, 30, 28, 8}},
      {"a", 1, 0, 0, {40, 22, 4, 13, 31, 45, 20, 35, 34, 43, 38, 24, 16, 30}},
      {"b", 0, 5, 2, {26, 39, 19, 2, 24, 38, 21, 5, 35, 8, 40, 15, 36, 46}},
  };
  for (const auto& [key, view_seed, mask_seed, mask_index, visible] : cases) {
    const MaskSpec spec{MaskSpec::Type::kAttention, 14, mask_seed, 3};
    EXPECT_THAT(DrawMask(spec, KeyOf(key), view_seed, mask_index, Weights()), IsOkAndHolds(visible));
  }
}

TEST(DrawMaskTest, GoldenRandomMaskIgnoresTheWeights) {
  const MaskSpec spec{MaskSpec::Type::kRandom, 14, 0, 1};
  const std::vector<uint16_t> expected = {37, 22, 29, 18, 24, 39, 47, 26, 46, 36, 41, 31, 4, 12};
  EXPECT_THAT(DrawMask(spec, KeyOf("a"), 0, 0, Weights()), IsOkAndHolds(expected));
  EXPECT_THAT(DrawMask(spec, KeyOf("a"), 0, 0, std::vector<float>(49, -1.0f)), IsOkAndHolds(expected));
}

TEST(DrawMaskTest, ZeroWeightsComeLastInRandomOrder) {
  const std::vector<float> weights = {0, 1, 0, 2, -0.0f, 0, 0x1p-149f, 0x1p100f};
  const MaskSpec spec{MaskSpec::Type::kAttention, 8, 0, 3};
  EXPECT_THAT(*DrawMask(spec, KeyOf("a"), 0, 0, weights), ElementsAre(7, 3, 1, 6, 4, 5, 2, 0));
  EXPECT_THAT(*DrawMask(spec, KeyOf("a"), 0, 1, weights), ElementsAre(7, 3, 1, 6, 0, 5, 4, 2));
  EXPECT_THAT(*DrawMask(spec, KeyOf("a"), 0, 2, weights), ElementsAre(7, 1, 3, 6, 4, 0, 2, 5));
}

TEST(DrawMaskTest, FewerVisibleArePrefixes) {
  const MaskSpec all{MaskSpec::Type::kAttention, 49, 0, 1};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::vector<uint16_t> order, DrawMask(all, KeyOf("a"), 0, 0, Weights()));
  for (uint32_t count = 1; count < 49; ++count) {
    const MaskSpec spec{MaskSpec::Type::kAttention, count, 0, 1};
    EXPECT_THAT(DrawMask(spec, KeyOf("a"), 0, 0, Weights()),
                IsOkAndHolds(std::vector<uint16_t>(order.begin(), order.begin() + count)));
  }
  std::sort(order.begin(), order.end());
  for (uint16_t i = 0; i < 49; ++i) EXPECT_EQ(order[i], i);
}

TEST(DrawMaskTest, DoesNotDependOnTheScaleOfTheWeights) {
  const MaskSpec spec{MaskSpec::Type::kAttention, 14, 0, 1};
  std::vector<float> scaled = Weights();
  for (float& weight : scaled) weight *= 0x1p-100f;
  EXPECT_EQ(*DrawMask(spec, KeyOf("a"), 0, 0, scaled), *DrawMask(spec, KeyOf("a"), 0, 0, Weights()));
}

TEST(DrawMaskTest, RefusesWhatIsNoMask) {
  const std::vector<float> good(4, 1.0f);
  EXPECT_THAT(DrawMask({MaskSpec::Type::kAttention, 0}, KeyOf("a"), 0, 0, good),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("num_visible is 0")));
  EXPECT_THAT(DrawMask({MaskSpec::Type::kRandom, 5}, KeyOf("a"), 0, 0, good),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("5"), HasSubstr("4 patches"))));
  EXPECT_THAT(DrawMask({MaskSpec::Type::kRandom, 1}, KeyOf("a"), 0, 0, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 patches")));
  for (const float bad : {-0.5f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(DrawMask({MaskSpec::Type::kAttention, 1}, KeyOf("a"), 0, 0, std::vector<float>{1, 1, bad}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("patch 2")));
  }
}

// Frequencies of one golden case: tests/golden/mask_sampling holds the exact probabilities. Every frequency
// must be within five standard errors. For independent draws a single frequency misses that with
// probability 5.7e-7, so one of the about 900 here would in one of 2,000 tests; the seeds are fixed, so this
// one passes always or never.
class MaskSamplingTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Golden, MaskSamplingTest,
                         ::testing::Values("toy16_skewed", "toy16_half", "toy16_flat"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(MaskSamplingTest, FrequenciesAreTheExactProbabilities) {
  constexpr uint32_t kDraws = 200000;
  const GoldenFile golden(AFTERIMAGE_SOURCE_DIR, "mask_sampling");
  const std::string name = GetParam();
  const auto importance = golden.Tensor<float>("input." + name + ".importance");
  const uint32_t num_visible = golden.description().at("config").at("cases").at(name).at("num_visible");
  const size_t n = importance.size();
  std::vector<uint32_t> inclusion(n), position(n * num_visible), pair(n * n);
  const ImageKey key = KeyOf(name);
  for (uint32_t draw = 0; draw < kDraws; ++draw) {
    const MaskSpec spec{MaskSpec::Type::kAttention, num_visible, 17, 1000};
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<uint16_t> visible,
                                    DrawMask(spec, key, draw / 1000, draw % 1000, importance));
    for (uint32_t rank = 0; rank < num_visible; ++rank) {
      ++inclusion[visible[rank]];
      ++position[visible[rank] * num_visible + rank];
      for (const uint16_t other : visible) ++pair[visible[rank] * n + other];
    }
  }
  const auto compare = [&](const std::string& what, const std::vector<uint32_t>& counts) {
    const auto exact = golden.Tensor<float>("output." + name + "." + what + ".exact");
    ASSERT_EQ(exact.size(), counts.size());
    for (size_t i = 0; i < counts.size(); ++i) {
      const double standard_error = std::sqrt(exact[i] * (1.0 - exact[i]) / kDraws);
      EXPECT_NEAR(static_cast<double>(counts[i]) / kDraws, exact[i], 5 * standard_error) << what << " " << i;
    }
  };
  compare("inclusion", inclusion);
  compare("position", position);
  compare("pair", pair);
}

TEST(NumVisibleTest, TruncatesAsTheReference) {
  EXPECT_EQ(NumVisible(196, 0.7), 58u);
  EXPECT_EQ(NumVisible(100, 0.8), 19u);
  EXPECT_EQ(NumVisible(100, 0.9), 9u);
  const GoldenFile golden(AFTERIMAGE_SOURCE_DIR, "mask_sampling");
  const auto expected = golden.Tensor<int64_t>("output.num_visible");
  const auto& axes = golden.description().at("num_visible_axes");
  size_t i = 0;
  for (const uint32_t num_patches : axes.at("num_patches")) {
    for (const double ratio : axes.at("mask_ratio")) {
      EXPECT_EQ(NumVisible(num_patches, ratio), static_cast<uint32_t>(expected[i++]))
          << num_patches << " at " << ratio;
    }
  }
  EXPECT_EQ(i, expected.size());
}

TEST(MaskSpecTest, GoldenCanonicalText) {
  EXPECT_THAT(CanonicalText(MaskSpec{}.ToCanonical()),
              IsOkAndHolds(std::string(
                  R"({"mask_seed":0,"num_masks":1,"num_visible":58,"type":"attention","version":1})")));
}

TEST(MaskSpecTest, ComesBackFromItsCanonicalForm) {
  const MaskSpec spec{MaskSpec::Type::kRandom, 14, 0xffffffff, 4};
  EXPECT_THAT(MaskSpec::FromCanonical(spec.ToCanonical()), IsOkAndHolds(spec));
}

TEST(MaskSpecTest, RefusesBadFields) {
  const auto with = [](const char* key, const Json& value) {
    Json json = MaskSpec{}.ToCanonical();
    json[key] = value;
    return MaskSpec::FromCanonical(json);
  };
  EXPECT_THAT(with("version", 2),
              StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("2"), HasSubstr("1"))));
  EXPECT_THAT(with("type", "block"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("block")));
  EXPECT_THAT(with("num_visible", 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("num_visible")));
  EXPECT_THAT(with("num_masks", 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("num_masks")));
  EXPECT_THAT(with("mask_seed", -1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mask_seed")));
  EXPECT_THAT(with("mask_seed", "7"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mask_seed")));
  EXPECT_THAT(with("ratio", 1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ratio")));
  Json json = MaskSpec{}.ToCanonical();
  json.erase("num_masks");
  EXPECT_THAT(MaskSpec::FromCanonical(json),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("num_masks")));
}

}  // namespace
}  // namespace afterimage
