#include "trainer/optim/loss_scaler.h"

#include <ATen/ATen.h>

#include <cmath>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::StatusIs;

ParameterMap WithGradients(double a, double b) {
  ParameterMap parameters = {{"a", at::zeros({2}).set_requires_grad(true)},
                             {"b", at::zeros({3}).set_requires_grad(true)},
                             {"c", at::zeros({1})}};
  parameters["a"].mutable_grad() = at::full({2}, a);
  parameters["b"].mutable_grad() = at::full({3}, b);
  return parameters;
}

TEST(LossScalerTest, GradientsComeBackUnscaledToTheBit) {
  const LossScaler scaler;
  EXPECT_EQ(scaler.Scaled(at::full({}, 0.3f)).item<float>(), 0.3f * 65536);
  const ParameterMap parameters = WithGradients(65536.0 / 3, 1.0);
  EXPECT_TRUE(scaler.Unscale(parameters));
  EXPECT_EQ(parameters.at("a").grad()[0].item<float>(), static_cast<float>(65536.0 / 3) / 65536);
  EXPECT_EQ(parameters.at("b").grad()[2].item<float>(), 1.0f / 65536);
}

TEST(LossScalerTest, OneValueThatIsNotFiniteIsFound) {
  const LossScaler scaler;
  for (const float value : {INFINITY, -INFINITY, NAN}) {
    const ParameterMap parameters = WithGradients(1, 1);
    at::Tensor(parameters.at("b")).mutable_grad()[1].fill_(value);
    EXPECT_FALSE(scaler.Unscale(parameters));
  }
  EXPECT_TRUE(scaler.Unscale({}));
}

TEST(LossScalerTest, HalvesOnOverflowAndDoublesAfterTwoThousandCleanUpdatesInARow) {
  LossScaler scaler;
  scaler.Update(false);
  EXPECT_EQ(scaler.scale(), 32768);
  for (int i = 0; i < 1999; ++i) scaler.Update(true);
  scaler.Update(false);
  EXPECT_EQ(scaler.scale(), 16384);
  EXPECT_EQ(scaler.num_skipped(), 2u);
  for (int i = 0; i < 1999; ++i) scaler.Update(true);
  EXPECT_EQ(scaler.scale(), 16384);
  scaler.Update(true);
  EXPECT_EQ(scaler.scale(), 32768);
  for (int i = 0; i < 4000; ++i) scaler.Update(true);
  EXPECT_EQ(scaler.scale(), 4 * 32768);
}

TEST(LossScalerTest, GivesUpWhereNoFactorHelps) {
  LossScaler scaler;
  int overflows = 0;
  for (; !scaler.exhausted(); ++overflows) scaler.Update(false);
  EXPECT_EQ(overflows, 16 + 14);  // from 2^16 to below 2^-13
}

TEST(LossScalerTest, ComesBackFromACheckpoint) {
  LossScaler scaler;
  scaler.Update(false);
  for (int i = 0; i < 1999; ++i) scaler.Update(true);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(LossScaler other, LossScaler::Parse(scaler.Serialize()));
  EXPECT_EQ(other.num_skipped(), 1u);
  other.Update(true);
  EXPECT_EQ(other.scale(), 65536);
  for (const char* text :
       {"", "{}", R"({"scale":"0","clean":0,"skipped":0})", R"({"scale":"x","clean":0,"skipped":0})"})
    EXPECT_THAT(LossScaler::Parse(text).status(), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
}

}  // namespace
}  // namespace afterimage::trainer
