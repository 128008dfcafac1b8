// What `forward` is given wrong.
#include <ATen/ATen.h>

#include <functional>
#include <string>

#include "core/vit/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/forward_golden.h"
#include "trainer/forward/forward.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Each is refused with what to change, before anything is computed.
class ForwardRefusalTest : public ::testing::Test {
 protected:
  template <typename... Texts>
  void ExpectRefused(const std::function<void(ForwardOptions&)>& change, const Texts&... texts) const {
    ForwardOptions options = StepOptions(golden_, "f32");
    change(options);
    EXPECT_THAT(Forward(options), StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(texts)...)));
  }
  // The golden step with an input of another kind under `name`; an undefined tensor = without it.
  template <typename... Texts>
  void ExpectInputRefused(const std::string& name, const at::Tensor& tensor, const Texts&... texts) const {
    ParameterMap input = {{"input.pixel_values", golden_.Tensor("input.pixel_values", at::kFloat)},
                          {"input.ids_shuffle", golden_.Tensor("input.ids_shuffle", at::kLong)}};
    input[name] = tensor;
    if (!tensor.defined()) input.erase(name);
    const std::string path = (folder_ / "input.safetensors").string();
    ASSERT_THAT(SaveTensors(path, input), IsOk());
    ExpectRefused([&](ForwardOptions& options) { options.input = path; }, path, texts...);
  }

  const TemporaryFolder folder_;
  const GoldenFile golden_{"maskalign_step"};
};

TEST_F(ForwardRefusalTest, FusionsThatCannotPairTheDepths) {
  const GoldenFile unequal("maskalign_step_p16_sum");  // 4 blocks, 3 levels
  for (const std::string fusion : {"linear", "simple"}) {
    ForwardOptions options = StepOptions(unequal, "f32");
    options.student.fusion = fusion;
    EXPECT_THAT(Forward(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                           AllOf(HasSubstr("fusion " + fusion), HasSubstr("4 blocks"),
                                                 HasSubstr("3 levels"), HasSubstr("--fusion sum"))));
  }
}

TEST_F(ForwardRefusalTest, NamesAndNumbersOfTheMethod) {
  ExpectRefused([](auto& o) { o.student.target_norm = "bn"; }, "batch", "use whiten, none or l2");
  ExpectRefused([](auto& o) { o.student.target_norm = "zca"; }, "zca", "whiten");
  ExpectRefused([](auto& o) { o.student.loss_type = "huber"; }, "huber", "smoothl1");
  ExpectRefused([](auto& o) { o.student.fusion = "product"; }, "product", "linear, sum and simple");
  ExpectRefused([](auto& o) { o.student.head = "mlp3"; }, "mlp3", "norm_linear");
  ExpectRefused([](auto& o) { o.student.head = "mlp"; }, "not of the kind \"mlp\"", "--head");
  ExpectRefused([](auto& o) { o.student.head = "norm_linear"; }, "--head norm_linear",
                "align.heads.1.norm.bias [32] is missing");
  ExpectRefused([](auto& o) { o.student.fusion = "simple"; }, "--fusion simple", "distill_weights");
  ExpectRefused([](auto& o) { o.student.loss_weights = "mid6"; }, "mid6", "0..5");
  ExpectRefused([](auto& o) { o.dtype = "f16"; }, "f16", "f32 and f64");
  ExpectRefused([](auto& o) { o.student.heads = 5; }, "5 heads do not divide a width of 32", "choose");
  ExpectRefused([](auto& o) { o.student.heads = 0; }, "give --heads");
  ExpectRefused([](auto& o) { o.teacher.num_heads = 7; }, "7 heads do not divide a width of 40", "choose");
  ExpectRefused([](auto& o) { o.teacher.num_heads = 0; }, "number of heads");
  ExpectRefused([](auto& o) { o.teacher.input_size = 26; }, "patches of 4 pixels", "multiple of 4");
  ExpectRefused([](auto& o) { o.teacher.input_size = 28; }, "grid of 7 x 7", "6 x 6",
                "--teacher-input-size 24");
  ExpectRefused([](auto& o) { o.teacher.image_size = 24; }, "--view-size");
}

TEST_F(ForwardRefusalTest, MasksAndDraws) {
  ExpectRefused([](auto& o) { o.mask_ratio = 0.99; }, "--mask-ratio 0.99", "none of 36", "smaller");
  ExpectRefused([](auto& o) { o.mask_ratio = 1.5; }, "--mask-ratio 1.5", "[0, 1)");
  ExpectRefused([](auto& o) { o.drop_path = 0.3; }, "input.drop_path_keep [6, 2, 2] is missing",
                "--drop-path");
  ExpectRefused([](auto& o) { o.drop_path = 1; }, "--drop-path 1", "[0, 1)");
  ExpectInputRefused("input.drop_path_keep", at::ones({6, 2, 2}, at::kByte), "not --drop-path");
  ExpectInputRefused("input.ids_shuffle", at::zeros({2, 35}, at::kLong), "[2, 35]", "[2, 36]");
  ExpectInputRefused("input.ids_shuffle", at::zeros({2, 36}, at::kLong), "patch 0 twice");
  ExpectInputRefused("input.ids_shuffle", at::rand({2, 36}), "F32", "I64");
  ExpectInputRefused("input.ids_keep", at::full({2, 1}, 36, at::kLong), "patch 36", "0 to 35");
  ExpectInputRefused("input.ids_keep", at::full({2, 1}, -1, at::kLong), "patch -1");
  ExpectInputRefused("input.ids_keep", at::zeros({3, 1}, at::kLong), "[3, 1]", "[2, ?]");
}

TEST_F(ForwardRefusalTest, PixelsOfAnotherShape) {
  ExpectInputRefused("input.pixel_values", at::zeros({2, 3, 32, 32}), "32 x 32", "24 x 24");
  ExpectInputRefused("input.pixel_values", at::zeros({2, 3, 24, 20}), "20 x 24", "square");
  ExpectInputRefused("input.pixel_values", at::zeros({2, 24, 24, 3}), "[2, 24, 24, 3]", "[?, 3, ?, ?]");
  ExpectInputRefused("input.pixel_values", at::zeros({0, 3, 24, 24}), "[0, 3, 24, 24]");
  ExpectInputRefused("input.pixel_values", at::zeros({2, 3, 24, 24}, at::kByte), "U8", "floating point");
  ExpectInputRefused("input.pixel_values", {}, "input.pixel_values", "is missing");
  const std::string path = (folder_ / "other.safetensors").string();
  ASSERT_THAT(SaveTensors(path, {{"pixel_values", at::zeros({2, 3, 24, 24})}}), IsOk());
  ExpectRefused([&](auto& o) { o.input = path; }, path, "no tensor input.*");
  ExpectRefused([](auto& o) { o.name = "alt9"; }, "input.alt9.pixel_values");
}

TEST_F(ForwardRefusalTest, GradientsOfNothing) {
  ExpectRefused([](auto& o) { o.gradients = {"blocks.9.norm1.bias"}; }, "blocks.9.norm1.bias",
                "no such parameter");
  ExpectRefused([](auto& o) { o.gradients = {"norm.weight"}; }, "norm.weight", "no gradient");
  ExpectRefused([](auto& o) { o.gradients = {"distill_heads.0.bias"}; }, "distill_heads.0.bias",
                "no gradient");
  const GoldenFile teacher("teacher_hf_clip");
  ForwardOptions options;
  options.weights = options.input = teacher.weights_path();
  options.teacher.num_heads = 4;
  options.gradients = {"all"};
  EXPECT_THAT(Forward(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without an alignment")));
}

TEST_F(ForwardRefusalTest, WeightsThatDoNotFit) {
  const std::string path = (folder_ / "weights.safetensors").string();
  const auto with = [&](const std::string& name, const at::Tensor& tensor) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(ParameterMap tensors, LoadTensors(golden_.weights_path()));
    tensors[name] = tensor;
    if (!tensor.defined()) tensors.erase(name);
    ASSERT_THAT(SaveTensors(path, tensors), IsOk());
  };
  const auto weights = [&](ForwardOptions& options) { options.weights = path; };
  with("distill_heads.2.weight", at::zeros({40, 31}));
  ExpectRefused(weights, path, "distill_heads.2.weight", "[40, 31]", "[40, 32]");
  with("distill_weights", at::zeros({6, 5}));
  ExpectRefused(weights, "distill_weights", "[6, 5]", "[6, 6]");
  with("blocks.5.norm2.bias", {});
  ExpectRefused(weights, "blocks.5.norm2.bias [32] is missing");
  with("blocks.5.norm3.bias", at::zeros({32}));
  ExpectRefused(weights, "unexpected tensor blocks.5.norm3.bias");
  with("pos_embed", at::zeros({1, 36, 32}));
  ExpectRefused(weights, "pos_embed has 35 rows");
  with("clip_model.vision_model.post_layernorm.bias", {});
  ExpectRefused(weights, "clip_model.", "post_layernorm.bias");
}

}  // namespace
}  // namespace afterimage::trainer
