// Fine-tuning and the linear probe against the official code's numbers (tests/golden).
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/vit/position_tables.h"
#include "core/vit/vit.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"
#include "trainer/data/augment/mix.h"
#include "trainer/loss/soft_cross_entropy.h"
#include "trainer/model/classifier.h"
#include "trainer/model/weights_file.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/gradients.h"
#include "trainer/optim/lars.h"
#include "trainer/optim/layer_decay.h"
#include "trainer/optim/schedule.h"
#include "trainer/probe/linear_probe.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::LargestDifference;

// Stored numbers are float64 results rounded to float32 (tests/golden/README.md).
constexpr double kDoubleTolerance = 4e-7;

VitConfig ConfigOf(const GoldenFile& golden) {
  const auto& model = golden.config()["model"];
  VitConfig config;
  config.image_size = model["img"];
  config.patch_size = model["patch"];
  config.width = model["dim"];
  config.depth = model["depth"];
  config.heads = model["heads"];
  config.mlp_width = 4 * config.width;
  return config;
}

ParameterMap WeightsOf(const GoldenFile& golden, at::ScalarType type) {
  ParameterMap weights;
  for (const auto& [name, view] : golden.file().tensors()) {
    if (absl::StartsWith(name, "input.") || absl::StartsWith(name, "output.")) continue;
    weights[name] = golden.Tensor(name, type);
  }
  return weights;
}

// Patch rows of "input.<name>" (bytes), normalised as the official code does it.
at::Tensor Rows(const GoldenFile& golden, const std::string& name, int64_t patch_size, at::ScalarType type) {
  const PixelNorm pixels;
  const at::Tensor mean = ParseTriple(pixels.mean)->to(type),
                   deviation = ParseTriple(pixels.deviation)->to(type);
  return ViewRows(NormalizePixels(golden.Tensor(name, at::kByte), mean, deviation), patch_size);
}

// In double the stored value to its rounding, in float within the tolerance of the JSON.
void ExpectGolden(const GoldenFile& golden, const std::string& name, const at::Tensor& value) {
  const at::Tensor wanted = golden.Tensor(name, at::kDouble);
  const double tolerance = value.scalar_type() == at::kDouble
                               ? kDoubleTolerance * wanted.abs().max().item<double>()
                               : golden.atol(name);
  EXPECT_LE(LargestDifference(value.detach().to(at::kDouble), wanted), tolerance) << name;
}

TEST(GoldenClassifierTest, LogitsOfBothPoolingsAreThoseOfTheOfficialCode) {
  const GoldenFile golden("finetune");
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    VitConfig config = ConfigOf(golden);
    ParameterMap mean = WeightsOf(golden, type);
    ParameterMap token = mean;
    for (const char* part : {".weight", ".bias"}) {
      mean.erase(absl::StrCat("norm", part));
      token.erase(absl::StrCat("fc_norm", part));
      token[absl::StrCat("head", part)] = token.at(absl::StrCat("cls_head", part));
    }
    const at::Tensor rows = Rows(golden, "input.view", config.patch_size, type);
    ExpectGolden(golden, "output.logits_mean_pool", ClassifierLogits(config, mean, rows));
    ExpectGolden(golden, "output.pooled_class_token", PooledFeatures(config, token, rows));
    ExpectGolden(golden, "output.logits_class_token", ClassifierLogits(config, token, rows));

    config.image_size = golden.config()["alt_image"];
    mean["pos_embed"] =
        ResizePositionTable(mean.at("pos_embed"), config.grid(), config.grid(), PositionResize::kSize);
    ExpectGolden(golden, "output.alt.logits_mean_pool",
                 ClassifierLogits(config, mean, Rows(golden, "input.alt.view", config.patch_size, type)));
  }
}

class GoldenFinetuneTest : public ::testing::TestWithParam<std::tuple<std::string, at::ScalarType>> {};

TEST_P(GoldenFinetuneTest, FiveStepsAreThoseOfTheOfficialCode) {
  const auto& [name, type] = GetParam();
  const GoldenFile golden(name);
  const VitConfig config = ConfigOf(golden);
  const auto& told = golden.config()["schedule"];
  ParameterMap parameters = WeightsOf(golden, type);
  for (auto& [parameter, tensor] : parameters) tensor.set_requires_grad(true);
  const double decay = told["layer_decay"];
  AdamW optimizer(parameters, {.beta2 = 0.999,
                               .weight_decay = told["weight_decay"],
                               .group_of = [&](const std::string& of, const at::Tensor& tensor) {
                                 return LayerDecayGroup(of, tensor, decay, config.depth);
                               }});
  const WarmupCosine schedule{told["lr"], told["min_lr"], told["warmup_epochs"], told["epochs"]};
  const int num_steps = golden.config()["steps"];
  const bool soft =
      golden.Has("input.step.0.target") && golden.Tensor("input.step.0.target", at::kDouble).dim() == 2;
  std::vector<double> losses;
  for (int step = 0; step < num_steps; ++step) {
    const at::Tensor given =
        golden.Tensor(absl::StrCat("input.step.", step, ".target"), soft ? type : at::kLong);
    const at::Tensor targets =
        soft ? given : MixedTargets({}, given, golden.config()["num_classes"], 0.1).to(type);
    const at::Tensor rows = Rows(golden, absl::StrCat("input.step.", step, ".view"), config.patch_size, type);
    const at::Tensor loss =
        SoftCrossEntropy(ClassifierLogits(config, parameters, rows), targets, targets.size(0));
    loss.backward();
    const double clip = golden.config()["optimizer"]["clip_grad"].is_null()
                            ? 0
                            : golden.config()["optimizer"]["clip_grad"].get<double>();
    if (clip > 0) ClipGradients(parameters, clip);
    optimizer.Step(schedule.At(static_cast<double>(step) / num_steps));
    losses.push_back(loss.item<double>());
  }
  ExpectGolden(golden, "output.loss", at::tensor(losses, type));
  int num_compared = 0;
  for (const auto& [parameter, tensor] : parameters) {
    at::Tensor value = tensor.detach();
    at::Tensor wanted = golden.Tensor("output.param." + parameter, at::kDouble);
    if (absl::EndsWith(parameter, "qkv.bias")) {  // the keys' third has a gradient of zero: rounding noise
      const auto without_keys = [&](const at::Tensor& bias) {
        return at::cat({bias.narrow(0, 0, config.width), bias.narrow(0, 2 * config.width, config.width)});
      };
      value = without_keys(value);
      wanted = without_keys(wanted);
    }
    const double tolerance = type == at::kDouble ? kDoubleTolerance * wanted.abs().max().item<double>()
                                                 : golden.atol("output.param." + parameter);
    EXPECT_LE(LargestDifference(value.to(at::kDouble), wanted), tolerance) << parameter;
    ++num_compared;
  }
  EXPECT_EQ(num_compared, 12 * config.depth + 8);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenFinetuneTest,
                         ::testing::Combine(::testing::Values("finetune_trajectory_smooth",
                                                              "finetune_trajectory_soft_clip"),
                                            ::testing::Values(at::kDouble, at::kFloat)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param),
                                               std::get<1>(info.param) == at::kDouble ? "_f64" : "_f32");
                         });

TEST(GoldenProbeTest, FourStepsOfLarsAreThoseOfTheOfficialCode) {
  const GoldenFile golden("linear_probe");
  VitWeights backbone;
  backbone.config = ConfigOf(golden);
  for (auto& [name, tensor] : WeightsOf(golden, at::kFloat)) {
    if (!absl::StartsWith(name, "head.")) backbone.parameters[name] = tensor;
  }
  const int64_t num_classes = golden.config()["num_classes"];
  LinearProbe probe(backbone, Pool::kToken, num_classes, /*seed=*/0, at::kCPU);
  const auto start = [&](const char* ours, const char* official) {
    probe.parameters().at(ours).detach().copy_(golden.Tensor(official, at::kFloat));
  };
  start("head.weight", "head.1.weight");
  start("head.bias", "head.1.bias");
  start("bn.running_mean", "head.0.running_mean");
  start("bn.running_var", "head.0.running_var");
  Lars optimizer(probe.parameters(), {});
  const auto& told = golden.config()["schedule"];
  const WarmupCosine schedule{told["lr"], told["min_lr"], told["warmup_epochs"], told["epochs"]};
  const int num_steps = golden.config()["steps"];
  const PixelNorm pixels;
  const auto views = [&](const std::string& name) {
    return NormalizePixels(golden.Tensor(name, at::kByte), *ParseTriple(pixels.mean),
                           *ParseTriple(pixels.deviation));
  };
  std::vector<double> losses;
  for (int step = 0; step < num_steps; ++step) {
    const at::Tensor labels = golden.Tensor(absl::StrCat("input.step.", step, ".target"), at::kLong);
    const at::Tensor logits = probe.TrainingLogits(views(absl::StrCat("input.step.", step, ".view")), 0);
    const at::Tensor loss =
        SoftCrossEntropy(logits, MixedTargets({}, labels, num_classes, 0), labels.size(0));
    loss.backward();
    optimizer.Step(schedule.At(static_cast<double>(step) / num_steps));
    losses.push_back(loss.item<double>());
  }
  ExpectGolden(golden, "output.loss", at::tensor(losses, at::kFloat));
  ExpectGolden(golden, "output.param.head.1.weight", probe.parameters().at("head.weight"));
  ExpectGolden(golden, "output.param.head.1.bias", probe.parameters().at("head.bias"));
  ExpectGolden(golden, "output.head.0.running_mean", probe.parameters().at("bn.running_mean"));
  ExpectGolden(golden, "output.head.0.running_var", probe.parameters().at("bn.running_var"));
  const at::Tensor probed = views("input.probe.view");
  ExpectGolden(golden, "output.probe_logits", probe.Logits(probe.parameters(), probed));
  // The exported classifier, with the BatchNorm folded into its head, computes the same.
  const VitWeights network = probe.Network(probe.parameters());
  ExpectGolden(
      golden, "output.probe_logits",
      ClassifierLogits(network.config, network.parameters, ViewRows(probed, network.config.patch_size)));
}

TEST(LarsTest, ScalesByTheTrustAndLeavesVectorsAlone) {
  ParameterMap parameters = {{"w", at::tensor({3.0, 4.0}, at::kDouble).view({1, 2}).set_requires_grad(true)},
                             {"zero", at::zeros({1, 2}, at::kDouble).set_requires_grad(true)},
                             {"b", at::tensor({1.0}, at::kDouble).set_requires_grad(true)},
                             {"unused", at::ones({2}, at::kDouble).set_requires_grad(true)}};
  Lars lars(parameters, {.momentum = 0.5, .weight_decay = 0.1, .trust_coefficient = 0.01});
  const auto step = [&] {
    parameters["w"].mutable_grad() = at::tensor({0.3, 0.0}, at::kDouble).view({1, 2});
    parameters["zero"].mutable_grad() = at::tensor({2.0, 0.0}, at::kDouble).view({1, 2});
    parameters["b"].mutable_grad() = at::tensor({0.5}, at::kDouble);
    lars.Step(2);
  };
  step();
  // g = (0.3, 0) + 0.1 (3, 4) = (0.6, 0.4); trust = 0.01 * 5 / |g|; w -= 2 trust g
  const double trust = 0.01 * 5 / std::sqrt(0.52);
  EXPECT_NEAR(parameters["w"][0][0].item<double>(), 3 - 2 * trust * 0.6, 1e-12);
  EXPECT_NEAR(parameters["w"][0][1].item<double>(), 4 - 2 * trust * 0.4, 1e-12);
  EXPECT_NEAR(parameters["zero"][0][0].item<double>(), -4, 1e-12);  // a norm of zero scales nothing
  EXPECT_NEAR(parameters["b"][0].item<double>(), 0, 1e-12);         // neither decay nor trust
  step();
  EXPECT_NEAR(parameters["b"][0].item<double>(), -2 * (0.5 * 0.5 + 0.5), 1e-12);  // momentum
  EXPECT_EQ(parameters["unused"][0].item<double>(), 1);

  ParameterMap plain = {{"w", at::tensor({3.0, 4.0}, at::kDouble).view({1, 2}).set_requires_grad(true)}};
  Lars sgd(plain, {.trust_coefficient = 0});
  plain["w"].mutable_grad() = at::tensor({0.3, 0.0}, at::kDouble).view({1, 2});
  sgd.Step(2);
  EXPECT_NEAR(plain["w"][0][0].item<double>(), 2.4, 1e-12);
}

TEST(LayerDecayTest, LayerIdsAreThoseOfBeitAndMae) {
  constexpr int64_t kDepth = 12;
  for (const char* first :
       {"cls_token", "pos_embed", "reg_token", "patch_embed.proj.weight", "norm_pre.bias"})
    EXPECT_EQ(LayerId(first, kDepth), 0) << first;
  EXPECT_EQ(LayerId("blocks.0.norm1.weight", kDepth), 1);
  EXPECT_EQ(LayerId("blocks.11.mlp.fc2.bias", kDepth), 12);
  for (const char* last : {"norm.weight", "fc_norm.bias", "head.weight"})
    EXPECT_EQ(LayerId(last, kDepth), 13) << last;
  const at::Tensor matrix = at::ones({2, 2}), vector = at::ones({2});
  EXPECT_EQ(LayerDecayGroup("head.weight", matrix, 0.5, kDepth), (ParameterGroup{true, 1.0}));
  EXPECT_EQ(LayerDecayGroup("blocks.11.norm1.weight", vector, 0.5, kDepth), (ParameterGroup{false, 0.5}));
  EXPECT_EQ(LayerDecayGroup("pos_embed", matrix, 0.5, 1), (ParameterGroup{false, 0.25}));
  EXPECT_EQ(LayerDecayGroup("cls_token", matrix, 1.0, 1), (ParameterGroup{false, 1.0}));
}

}  // namespace
}  // namespace afterimage::trainer
