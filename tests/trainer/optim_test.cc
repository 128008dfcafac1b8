// Clipping, the average of the weights, ranges over epochs, the precision of products; and the sizes with a
// name.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "trainer/model/vit_init.h"
#include "trainer/optim/gradients.h"
#include "trainer/optim/precision.h"
#include "trainer/optim/schedule.h"
#include "trainer/optim/weight_average.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

ParameterMap WithGradients() {
  ParameterMap parameters = {{"a", at::zeros({2}).set_requires_grad(true)},
                             {"b", at::zeros({2, 2}).set_requires_grad(true)},
                             {"unused", at::ones({3}).set_requires_grad(true)}};
  parameters["a"].mutable_grad() = at::tensor({2.0f, 4.0f});
  parameters["b"].mutable_grad() = at::tensor({1.0f, -2.0f, 0.0f, 0.0f}).view({2, 2});
  return parameters;
}

TEST(ClipGradientsTest, TheNormIsOfAllTogetherAndOnlyAboveTheLimitIsScaled) {
  ParameterMap parameters = WithGradients();
  EXPECT_DOUBLE_EQ(ClipGradients(parameters, 5.5), 5.0);  // sqrt(4 + 16 + 1 + 4)
  EXPECT_TRUE(at::equal(parameters["a"].grad(), at::tensor({2.0f, 4.0f})));
  EXPECT_DOUBLE_EQ(ClipGradients(parameters, 1.0), 5.0);
  EXPECT_TRUE(at::allclose(parameters["a"].grad(), at::tensor({0.4f, 0.8f})));
  EXPECT_TRUE(at::allclose(parameters["b"].grad()[0], at::tensor({0.2f, -0.4f})));
  EXPECT_NEAR(ClipGradients(parameters, 9.0), 1.0, 1e-6);
  EXPECT_FALSE(parameters["unused"].grad().defined());
}

TEST(ClipGradientsTest, ANormThatIsNotFiniteScalesNothing) {
  ParameterMap parameters = WithGradients();
  parameters["b"].mutable_grad()[0][0] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(ClipGradients(parameters, 1.0)));
  EXPECT_TRUE(at::equal(parameters["a"].grad(), at::tensor({2.0f, 4.0f})));
  EXPECT_EQ(ClipGradients({{"unused", at::ones({3})}}, 1.0), 0.0);
}

TEST(WeightAverageTest, FollowsTheTrainedWeightsByItsDecay) {
  ParameterMap parameters = {{"w", at::full({2}, 1.0).set_requires_grad(true)}, {"fixed", at::ones({2})}};
  WeightAverage average(parameters, 0.75);
  ASSERT_EQ(average.values().size(), 1u);
  parameters["w"].detach().fill_(5.0);
  EXPECT_FLOAT_EQ(average.values().at("w")[0].item<float>(), 1.0f);
  average.Update();
  EXPECT_FLOAT_EQ(average.values().at("w")[0].item<float>(), 2.0f);  // 0.75 * 1 + 0.25 * 5
  average.Update();
  EXPECT_FLOAT_EQ(average.values().at("w")[1].item<float>(), 2.75f);
  EXPECT_FLOAT_EQ(parameters["w"].detach()[0].item<float>(), 5.0f);
}

TEST(LinearRangeTest, GoesFromTheFirstEpochToTheLastAndStays) {
  const LinearRange range(0.5, 0.7);
  EXPECT_EQ(range.At(0, 5), 0.5);
  EXPECT_DOUBLE_EQ(range.At(1, 5), 0.55);
  EXPECT_EQ(range.At(4, 5), 0.7);
  EXPECT_EQ(range.At(9, 5), 0.7);
  EXPECT_EQ(range.At(0, 1), 0.5);
  EXPECT_EQ(LinearRange(0.3).At(3, 5), 0.3);
}

TEST(LinearRangeTest, TextsComeBackAndOthersAreRefused) {
  for (const char* text : {"0.7", "0.5:0.75", "0", "1:0"}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LinearRange range, ParseLinearRange(text, 0, 1));
    EXPECT_EQ(range.Text(), text);
  }
  for (const char* text : {"", ":", "0.5:", "0.5:0.6:0.7", "-0.1", "0.5:1.1", "nan", "half"}) {
    EXPECT_THAT(ParseLinearRange(text, 0, 1),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("from 0 to 1")))
        << text;
  }
}

TEST(PrecisionScopeTest, ProductsAreRoundedInsideAndOnlyThere) {
  const at::Tensor a = at::full({1, 1}, 1.0f + 0x1p-12f), one = at::ones({1, 1});
  {
    const PrecisionScope scope(Precision::kBf16, at::kCPU);
    EXPECT_EQ(at::linear(a, one).scalar_type(), at::kBFloat16);
    EXPECT_EQ(at::linear(a, one).item<float>(), 1.0f);
    EXPECT_EQ((a + one).scalar_type(), at::kFloat);
  }
  {
    const PrecisionScope scope(Precision::kF32, at::kCPU);
    EXPECT_TRUE(at::equal(at::linear(a, one), a));
  }
  EXPECT_TRUE(at::equal(at::linear(a, one), a));
  EXPECT_THAT(ParsePrecision("fp8"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bf16")));
}

// A weight that changes between two forwards must not be taken from the rounded copies of the first.
TEST(PrecisionScopeTest, AForwardAfterAnUpdateSeesTheNewWeights) {
  const at::Tensor weight = at::ones({1, 1}).set_requires_grad(true), x = at::ones({1, 1});
  for (const float value : {1.0f, 3.0f}) {
    weight.detach().fill_(value);
    const PrecisionScope scope(Precision::kBf16, at::kCPU);
    EXPECT_EQ(at::linear(x, weight).item<float>(), value);
  }
}

// timm's counts of vit_*_patch16_224 (huge: patch14) without a head.
TEST(NamedVitTest, SizesHaveTheKnownNumbersOfParameters) {
  const std::pair<const char*, int64_t> known[] = {{"vit_tiny", 5524416},
                                                   {"vit_small", 21665664},
                                                   {"vit_base", 85798656},
                                                   {"vit_large", 303301632},
                                                   {"vit_huge", 630764800}};
  for (const auto& [name, wanted] : known) {
    VitConfig config;
    ASSERT_TRUE(NamedVit(name, config)) << name;
    if (std::string(name) == "vit_huge") config.patch_size = 14;
    int64_t count = 0;
    for (const auto& [parameter, shape] : VitParameterShapes(config)) {
      int64_t size = 1;
      for (const int64_t length : shape) size *= length;
      count += size;
    }
    EXPECT_EQ(count, wanted) << name;
  }
  VitConfig config;
  EXPECT_FALSE(NamedVit("vit_giant", config));
}

}  // namespace
}  // namespace afterimage::trainer
