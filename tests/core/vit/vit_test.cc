#include "core/vit/vit.h"

#include <ATen/ATen.h>

#include <string>

#include "core/vit/torch_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::LargestDifference;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

VitConfig SmallConfig() {
  return {.image_size = 16,
          .patch_size = 4,
          .width = 24,
          .depth = 3,
          .heads = 3,
          .mlp_width = 40,
          .pre_norm = true,
          .layer_scale = true};
}

ParameterMap RandomParameters(const VitConfig& config, at::ScalarType type = at::kDouble) {
  ParameterMap parameters;
  for (const auto& [name, shape] : VitParameterShapes(config))
    parameters[name] = (at::randn(shape, type) * 0.3);
  return parameters;
}

at::Tensor RandomRows(const VitConfig& config, int64_t batch, at::ScalarType type = at::kDouble) {
  return at::randn({batch, config.num_patches(), 3 * config.patch_size * config.patch_size}, type);
}

TEST(VitConfigTest, ValidateNamesWhatIsWrong) {
  VitConfig config = SmallConfig();
  AFTERIMAGE_EXPECT_OK(config.Validate());
  config.heads = 5;
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("5 heads")));
  config = SmallConfig();
  config.image_size = 18;
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("18")));
  config = SmallConfig();
  config.depth = 0;
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("depth")));
}

TEST(VitConfigTest, CanonicalFormIsFrozen) {
  const absl::StatusOr<std::string> text = CanonicalText(VitConfig{}.ToCanonical());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(
      *text,
      R"({"activation":"gelu","depth":12,"heads":12,"image_size":224,"layer_norm_eps":"1e-06",)"
      R"("layer_scale":false,"mlp_width":3072,"patch_bias":true,"patch_size":16,"pre_norm":false,"width":768})");
}

TEST(VitForwardMacsTest, AgreesWithThePublishedCountOfViTB16) {
  // 17.58 G multiply-accumulates with attention products (timm's table; maskalign.md section 2.3 says 17.6).
  EXPECT_NEAR(VitForwardMacs(VitConfig{}, 196) / 1e9, 17.56, 0.03);
}

TEST(VitConfigTest, RegistersAndTheGateAreInTheCanonicalFormOnlyWhereTheyAre) {
  VitConfig config{.activation = Activation::kSwiGlu, .num_registers = 4};
  EXPECT_EQ(config.ToCanonical()["num_registers"], 4);
  EXPECT_EQ(config.ToCanonical()["activation"], "swiglu");
  EXPECT_FALSE(VitConfig{}.ToCanonical().contains("num_registers"));
  config.num_registers = -1;
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("num_registers")));
}

TEST(VitForwardMacsTest, CountsRegistersAndTheThirdMatrixOfAGatedMlp) {
  const VitConfig plain = SmallConfig();
  VitConfig config = plain;
  config.num_registers = 2;
  config.activation = Activation::kSwiGlu;
  const double tokens = 1 + 2 + 16;
  EXPECT_EQ(VitForwardMacs(config, 16),
            16 * 48 * 24 + 3 * (tokens * (4 * 24 * 24 + 3 * 24 * 40) + 2 * tokens * tokens * 24));
}

TEST(PatchRowsTest, TimesTheFlatWeightIsTheConvolution) {
  const at::Tensor pixels = at::randn({2, 3, 12, 12}, at::kDouble);
  const at::Tensor weight = at::randn({5, 3, 4, 4}, at::kDouble);
  const at::Tensor wanted =
      at::conv2d(pixels, weight, {}, /*stride=*/at::IntArrayRef({4, 4})).flatten(2).transpose(1, 2);
  EXPECT_LE(LargestDifference(at::linear(PatchRows(pixels, 4), weight.view({5, 48})), wanted), 1e-12);
}

TEST(VitForwardTest, GivenAllPatchesInAnotherOrderGivesTheirRowsInThatOrder) {
  at::manual_seed(1);
  const VitConfig config = SmallConfig();
  const ParameterMap parameters = RandomParameters(config);
  const at::Tensor rows = RandomRows(config, 2);
  const at::Tensor order = at::rand({2, config.num_patches()}).argsort(int64_t{1});
  const VitOutput plain = VitForward(config, parameters, rows);
  const VitOutput shuffled = VitForward(config, parameters, rows, {.visible = order});
  for (size_t i = 0; i < plain.hidden.size(); ++i) {
    const at::Tensor index =
        at::cat({at::zeros({2, 1}, at::kLong), order + 1}, 1).unsqueeze(-1).expand({2, 17, config.width});
    EXPECT_LE(LargestDifference(shuffled.hidden[i], plain.hidden[i].gather(1, index)), 1e-11);
  }
}

TEST(VitForwardTest, VisiblePatchesEnterAsInTheFullForwardAndSeeNoOthers) {
  at::manual_seed(2);
  const VitConfig config = SmallConfig();
  const ParameterMap parameters = RandomParameters(config);
  at::Tensor rows = RandomRows(config, 2);
  const at::Tensor visible = at::tensor({3, 0, 9, 15, 14, 2}, at::kLong).view({2, 3});
  const VitOutput full = VitForward(config, parameters, rows);
  const VitOutput some = VitForward(config, parameters, rows, {.visible = visible});
  EXPECT_EQ(some.hidden[0].sizes(), at::IntArrayRef({2, 4, config.width}));
  EXPECT_LE(LargestDifference(some.hidden[0][1][2], full.hidden[0][1][15]), 1e-13);
  EXPECT_LE(LargestDifference(some.hidden[0][0][0], full.hidden[0][0][0]), 1e-13);
  // Gathered by the caller, the same bits.
  const at::Tensor gathered = rows.gather(1, visible.unsqueeze(-1).expand({2, 3, rows.size(2)}));
  const VitOutput given = VitForward(config, parameters, gathered, {.visible = visible});
  EXPECT_TRUE(at::equal(given.hidden.back(), some.hidden.back()));
  // Masked patches do not matter, visible ones do.
  rows = rows.clone();
  rows[0][1] += 1;
  EXPECT_TRUE(at::equal(VitForward(config, parameters, rows, {.visible = visible}).hidden.back(),
                        some.hidden.back()));
  rows[0][9] += 1;
  EXPECT_GT(LargestDifference(VitForward(config, parameters, rows, {.visible = visible}).hidden.back(),
                              some.hidden.back()),
            1e-3);
}

TEST(VitForwardTest, RegistersChangeTheOutputsAndAreInNone) {
  at::manual_seed(7);
  VitConfig config = SmallConfig();
  config.num_registers = 2;
  config.activation = Activation::kSwiGlu;
  ParameterMap parameters = RandomParameters(config);
  const at::Tensor rows = RandomRows(config, 2);
  const VitOutput output = VitForward(config, parameters, rows, {.with_importance = true});
  EXPECT_EQ(output.importance.sizes(), at::IntArrayRef({2, 16}));
  for (const at::Tensor& hidden : output.hidden) EXPECT_EQ(hidden.sizes(), at::IntArrayRef({2, 17, 24}));
  EXPECT_LT(output.importance.sum(1).max().item<double>(), 1);  // the registers have their share
  parameters["reg_token"] = at::randn_like(parameters["reg_token"]);
  const VitOutput other = VitForward(config, parameters, rows, {.with_importance = true});
  EXPECT_TRUE(at::equal(other.hidden[0], output.hidden[0]));
  EXPECT_GT(LargestDifference(other.hidden[1], output.hidden[1]), 1e-3);
  const at::Tensor visible = at::tensor({3, 0, 9, 15, 14, 2}, at::kLong).view({2, 3});
  EXPECT_EQ(VitForward(config, parameters, rows, {.visible = visible}).hidden.back().sizes(),
            at::IntArrayRef({2, 4, 24}));
}

TEST(VitForwardTest, ImportanceIsTheClassRowOfTheLastSoftmax) {
  at::manual_seed(3);
  VitConfig config = SmallConfig();
  config.depth = 1;
  const ParameterMap parameters = RandomParameters(config);
  const VitOutput output = VitForward(config, parameters, RandomRows(config, 2), {.with_importance = true});
  // The whole attention map, written out.
  const at::Tensor x =
      at::layer_norm(output.hidden[0], {config.width}, parameters.at("blocks.0.norm1.weight"),
                     parameters.at("blocks.0.norm1.bias"), config.layer_norm_eps);
  const at::Tensor qkv =
      at::linear(x, parameters.at("blocks.0.attn.qkv.weight"), parameters.at("blocks.0.attn.qkv.bias"))
          .view({2, 17, 3, 3, 8});
  const at::Tensor q = qkv.select(2, 0).transpose(1, 2);
  const at::Tensor k = qkv.select(2, 1).transpose(1, 2);
  const at::Tensor map = at::softmax(at::matmul(q, k.transpose(2, 3)) / std::sqrt(8.0), -1);
  EXPECT_LE(LargestDifference(output.importance, map.mean(1).select(1, 0).slice(1, 1)), 1e-14);
}

TEST(VitForwardTest, ASampleHasTheSameBitsAtEveryPlaceOfTheBatch) {
  at::manual_seed(5);
  for (const int64_t image_size : {28, 32, 36, 40}) {  // 50, 65, 82 and 101 tokens
    SCOPED_TRACE(image_size);
    const VitConfig config{
        .image_size = image_size, .patch_size = 4, .width = 96, .depth = 2, .heads = 3, .mlp_width = 192};
    ParameterMap parameters;
    for (const auto& [name, shape] : VitParameterShapes(config)) parameters[name] = at::randn(shape) * 0.2;
    const at::Tensor rows = at::randn({1, config.num_patches(), 3 * 4 * 4}).expand({16, -1, -1}).contiguous();
    const VitOutput output = VitForward(config, parameters, rows, {.with_importance = true});
    for (int64_t i = 1; i < 16; ++i) {
      EXPECT_TRUE(at::equal(output.importance[i], output.importance[0])) << i;
      for (const at::Tensor& hidden : output.hidden) EXPECT_TRUE(at::equal(hidden[i], hidden[0])) << i;
    }
  }
}

TEST(VitForwardTest, DropPathScalesEachBranchOfEachSample) {
  at::manual_seed(4);
  const VitConfig config = SmallConfig();
  const ParameterMap parameters = RandomParameters(config);
  const at::Tensor rows = RandomRows(config, 2);
  const at::Tensor factors = at::ones({config.depth, 2, 2}, at::kDouble);
  const VitOutput plain = VitForward(config, parameters, rows);
  EXPECT_TRUE(at::equal(VitForward(config, parameters, rows, {.drop_path = factors}).hidden.back(),
                        plain.hidden.back()));
  factors.select(2, 1).zero_();  // the second sample drops everything
  const VitOutput dropped = VitForward(config, parameters, rows, {.drop_path = factors});
  EXPECT_TRUE(at::equal(dropped.hidden.back()[0], plain.hidden.back()[0]));
  EXPECT_TRUE(at::equal(dropped.hidden.back()[1], plain.hidden.front()[1]));
  factors.fill_(1)[0][1][0] = 0;  // the MLP branch of block 1, first sample
  const VitOutput one = VitForward(config, parameters, rows, {.drop_path = factors});
  EXPECT_GT(LargestDifference(one.hidden[1][0], plain.hidden[1][0]), 1e-3);
  EXPECT_TRUE(at::equal(one.hidden[1][1], plain.hidden[1][1]));
}

// Each parameter's gradient against a central difference along a random direction.
TEST(VitForwardTest, GradientsAreThoseOfTheFunction) {
  at::manual_seed(5);
  const VitConfig config = SmallConfig();
  ParameterMap parameters = RandomParameters(config);
  const at::Tensor rows = RandomRows(config, 2);
  const at::Tensor visible = at::tensor({3, 0, 9, 15, 14, 2}, at::kLong).view({2, 3});
  const at::Tensor weights = at::randn({config.depth + 1, 2, 4, config.width}, at::kDouble);
  const auto loss = [&] {
    return (at::stack(VitForward(config, parameters, rows, {.visible = visible}).hidden) * weights).sum();
  };
  for (auto& [name, tensor] : parameters) tensor.set_requires_grad(true);
  loss().backward();
  for (auto& [name, tensor] : parameters) {
    SCOPED_TRACE(name);
    if (name.starts_with("norm.")) {  // no part of any level
      EXPECT_FALSE(tensor.grad().defined());
      continue;
    }
    ASSERT_TRUE(tensor.grad().defined());
    const at::Tensor direction = at::randn_like(tensor.detach());
    const double predicted = (tensor.grad() * direction).sum().item<double>();
    const at::Tensor original = tensor;
    constexpr double kStep = 1e-5;
    tensor = original.detach() + kStep * direction;
    const double above = loss().item<double>();
    tensor = original.detach() - kStep * direction;
    const double below = loss().item<double>();
    tensor = original;
    EXPECT_NEAR((above - below) / (2 * kStep), predicted, 1e-5 * (1 + std::abs(predicted)));
  }
}

TEST(VitForwardTest, MissingParametersAndWrongRowsAreNamed) {
  const VitConfig config = SmallConfig();
  ParameterMap parameters = RandomParameters(config);
  const at::Tensor rows = RandomRows(config, 1);
  EXPECT_THAT(RunTorch([&] { VitForward(config, parameters, rows.slice(1, 1)); }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("16 patches")));
  EXPECT_THAT(RunTorch([&] { VitForward(config, parameters, rows.slice(2, 1)); }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("patch rows have 48 values")));
  parameters.erase("blocks.1.norm2.bias");
  EXPECT_THAT(RunTorch([&] { VitForward(config, parameters, rows); }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("blocks.1.norm2.bias")));
}

TEST(LayerNormNoAffineTest, EachTokensBitsDependOnTheTokenAlone) {
  at::manual_seed(6);
  const at::Tensor x = at::randn({64, 37, 48}) * 3 + 1;
  const at::Tensor all = LayerNormNoAffine(x, 1e-5);
  EXPECT_TRUE(at::equal(LayerNormNoAffine(x[5], 1e-5), all[5]));
  EXPECT_TRUE(at::equal(LayerNormNoAffine(x[63][36], 1e-5), all[63][36]));
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor centered = wide - wide.mean(-1, true);
  EXPECT_LE(LargestDifference(all, centered / (centered.square().mean(-1, true) + 1e-5).sqrt()), 2e-6);
}

}  // namespace
}  // namespace afterimage
