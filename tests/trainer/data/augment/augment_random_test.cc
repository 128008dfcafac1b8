// Distributions, and the erasures and mixes that are drawn from them.
#include "trainer/data/augment/augment_random.h"

#include <ATen/ATen.h>

#include <cmath>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "trainer/data/augment/mix.h"
#include "trainer/data/augment/random_erasing.h"

namespace afterimage::trainer {
namespace {

AugmentRandom Stream(uint32_t place, AugmentPurpose purpose = AugmentPurpose::kMix) {
  return AugmentRandom(11, 3, place, purpose);
}

struct Moments {
  double mean = 0, deviation = 0, fourth = 0;  // the last: mean of ((x - mean) / deviation)^4
};
template <typename Draw>
Moments MomentsOf(int count, Draw draw) {
  std::vector<double> values(count);
  for (double& value : values) value = draw();
  Moments moments;
  for (const double value : values) moments.mean += value / count;
  for (const double value : values) moments.deviation += std::pow(value - moments.mean, 2) / count;
  moments.deviation = std::sqrt(moments.deviation);
  for (const double value : values)
    moments.fourth += std::pow((value - moments.mean) / moments.deviation, 4) / count;
  return moments;
}

TEST(AugmentRandomTest, NormalsHaveTheMomentsOfNormals) {
  AugmentRandom random = Stream(0);
  const Moments moments = MomentsOf(200000, [&] { return random.Normal(); });
  EXPECT_NEAR(moments.mean, 0, 0.01);
  EXPECT_NEAR(moments.deviation, 1, 0.01);
  EXPECT_NEAR(moments.fourth, 3, 0.06);
}

// Golden numbers of data/reference_random.py.
TEST(AugmentRandomTest, NumbersAreTheSameOnEveryMachine) {
  AugmentRandom normals = Stream(1);
  for (const double expected :
       {-0x1.14c1dc5ad0673p-1, 0x1.645bc69395c32p-1, 0x1.0c50831c79ae7p-2, -0x1.f07bf278d0587p+0}) {
    EXPECT_EQ(normals.Normal(), expected);
  }
  AugmentRandom betas = Stream(2);
  for (const double expected : {0x1.0b433098a7296p-2, 0x1.ad122e7005400p-5, 0x1.0d7655258530dp-5}) {
    EXPECT_EQ(betas.SymmetricBeta(0.8), expected);
  }
}

TEST(AugmentRandomTest, SymmetricBetasHaveTheirMoments) {
  for (const double alpha : {0.1, 0.5, 0.8, 1.0, 2.0, 7.5}) {
    AugmentRandom random = Stream(2);
    const Moments moments = MomentsOf(60000, [&] {
      const double value = random.SymmetricBeta(alpha);
      EXPECT_GE(value, 0);
      EXPECT_LE(value, 1);
      return value;
    });
    EXPECT_NEAR(moments.mean, 0.5, 0.008) << alpha;
    EXPECT_NEAR(moments.deviation, std::sqrt(1 / (4 * (2 * alpha + 1))), 0.005) << alpha;
  }
}

TEST(AugmentRandomTest, PurposesPlacesEpochsAndSeedsDoNotOverlap) {
  std::set<uint32_t> words;
  for (const AugmentPurpose purpose : {AugmentPurpose::kView, AugmentPurpose::kErasing}) {
    for (uint32_t place = 0; place < 10; ++place) {
      for (uint32_t epoch = 0; epoch < 10; ++epoch) {
        for (const uint64_t seed : {uint64_t{0}, uint64_t{1} << 32})
          words.insert(AugmentRandom(seed, epoch, place, purpose).Next32());
      }
    }
  }
  EXPECT_EQ(words.size(), 400u);
}

TEST(RandomErasingTest, BoxesLieInsideAndCoverTheirShare) {
  int count = 0;
  constexpr int kNumViews = 4000, kSize = 32;
  for (int place = 0; place < kNumViews; ++place) {
    const auto erasure = DrawErasure(0.25, kSize, Stream(place, AugmentPurpose::kErasing));
    if (!erasure.has_value()) continue;
    ++count;
    const PixelBox& box = erasure->box;
    EXPECT_LE(box.x + box.width, kSize);
    EXPECT_LE(box.y + box.height, kSize);
    EXPECT_EQ(erasure->noise.size(), size_t{3} * box.width * box.height);
    const double share = static_cast<double>(box.width * box.height) / (kSize * kSize);
    EXPECT_GT(share, 0.01);
    EXPECT_LT(share, 0.37);
    const double aspect = static_cast<double>(box.height) / box.width;
    EXPECT_GT(aspect, 0.2);
    EXPECT_LT(aspect, 5);
  }
  EXPECT_NEAR(count / static_cast<double>(kNumViews), 0.25, 0.02);
  EXPECT_FALSE(DrawErasure(0, kSize, Stream(0)).has_value());
  EXPECT_FALSE(DrawErasure(1, 1, Stream(0)).has_value());  // no box is smaller than one pixel
}

TEST(MixTest, TheKindsComeWithTheirProbabilities) {
  int num_cut = 0, num_mixed = 0;
  for (int step = 0; step < 2000; ++step) {
    const Mix mix = DrawMix({.mixup_alpha = 0.8, .cutmix_alpha = 1, .probability = 0.5}, 32, Stream(step));
    num_cut += mix.cut ? 1 : 0;
    num_mixed += mix.lambda < 1 ? 1 : 0;
    EXPECT_FALSE(DrawMix({.mixup_alpha = 0.8}, 32, Stream(step)).cut);
    EXPECT_TRUE(DrawMix({.cutmix_alpha = 0.8}, 32, Stream(step)).cut);
    EXPECT_EQ(DrawMix({}, 32, Stream(step)).lambda, 1);
  }
  EXPECT_NEAR(num_mixed, 1000, 80);
  EXPECT_NEAR(num_cut, 500, 70);
}

TEST(MixTest, CutMixsLambdaIsWhatTheBoxLeaves) {
  for (int step = 0; step < 500; ++step) {
    const Mix mix = DrawMix({.cutmix_alpha = 1}, 20, Stream(step));
    EXPECT_LE(mix.box.x + mix.box.width, 20u);
    EXPECT_LE(mix.box.y + mix.box.height, 20u);
    EXPECT_DOUBLE_EQ(mix.lambda, 1 - mix.box.width * mix.box.height / 400.0);
  }
}

TEST(MixTest, ViewsAreMixedWithThoseInReverseOrder) {
  const at::Tensor views = at::arange(2 * 4 * 4 * 3, at::kFloat).view({2, 4, 4, 3});
  at::Tensor mixed = views.clone();
  ApplyMix({.lambda = 0.75}, mixed);
  EXPECT_TRUE(at::allclose(mixed, 0.75 * views + 0.25 * views.flip(0)));
  at::Tensor cut = views.clone();
  ApplyMix({.lambda = 0.875, .cut = true, .box = {1, 2, 1, 2}}, cut);
  for (int64_t y = 0; y < 4; ++y) {
    for (int64_t x = 0; x < 4; ++x) {
      const bool inside = x == 1 && (y == 2 || y == 3);
      EXPECT_TRUE(at::equal(cut[0][y][x], views[inside ? 1 : 0][y][x])) << x << " " << y;
    }
  }
}

TEST(MixTest, TargetsAreTimms) {
  // timm's mixup_target(tensor([0, 2]), 4, lam=0.7, smoothing=0.1): on 0.925, off 0.025.
  const at::Tensor labels = at::tensor({0, 2}, at::kLong);
  const at::Tensor expected =
      at::tensor({0.655, 0.025, 0.295, 0.025, 0.295, 0.025, 0.655, 0.025}, at::kFloat).view({2, 4});
  EXPECT_TRUE(at::allclose(MixedTargets({.lambda = 0.7}, labels, 4, 0.1), expected));
  const at::Tensor hard = at::tensor({1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0}, at::kFloat).view({2, 4});
  EXPECT_TRUE(at::equal(MixedTargets({}, labels, 4, 0), hard));
}

}  // namespace
}  // namespace afterimage::trainer
