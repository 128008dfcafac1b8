// `forward` over the golden files: steps of the official code and teachers of their libraries, in both
// precisions; and other forms of the same weights.
#include "trainer/forward/forward.h"

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/vit/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/forward_golden.h"
#include "trainer/forward/compare.h"
#include "trainer/forward/student_file.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::afterimage::testing::WriteTeacherOfStep;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void ExpectEqual(const ForwardOptions& options, const std::string& reference,
                 Comparison* comparison = nullptr) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap tensors, Forward(options));
  for (const auto& [name, tensor] : tensors) {
    if (name != "output.ids_keep") {
      EXPECT_EQ(tensor.scalar_type(), options.dtype == "f64" ? at::kDouble : at::kFloat) << name;
    }
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Comparison compared,
                                  CompareTensors(tensors, reference, {.in_double = options.dtype == "f64"}));
  EXPECT_EQ(compared.num_outside(), 0) << compared.Text();
  if (comparison != nullptr) *comparison = compared;
}

int NumTensors(const GoldenFile& golden, const std::string& prefix) {
  int count = 0;
  for (const auto& [name, view] : golden.file().tensors()) count += name.starts_with(prefix) ? 1 : 0;
  return count;
}

class GoldenStepTest : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(GoldenStepTest, EveryOutputAndEveryGradientIsThatOfTheOfficialCode) {
  const auto& [name, dtype] = GetParam();
  const GoldenFile golden(name);
  Comparison comparison;
  ExpectEqual(StepOptions(golden, dtype), golden.weights_path(), &comparison);
  EXPECT_THAT(comparison.not_computed, IsEmpty());
  EXPECT_EQ(static_cast<int>(comparison.tensors.size()),
            NumTensors(golden, "output.") + NumTensors(golden, "grad."));
}

TEST_P(GoldenStepTest, GradientsAreThoseOfAllParametersThatTakePart) {
  const auto& [name, dtype] = GetParam();
  const GoldenFile golden(name);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap tensors, Forward(StepOptions(golden, dtype)));
  int gradients = 0;
  for (const auto& [tensor, value] : tensors) gradients += absl::StartsWith(tensor, "grad.") ? 1 : 0;
  // Per block 12; class token, patch embedding, mix; heads of the levels that count. Not: positions, final
  // norm, the other heads.
  const int num_levels = name == "maskalign_step" ? 5 : name == "maskalign_step_drop_path" ? 3 : 2;
  const int per_head = name == "maskalign_step_drop_path" ? 4 : 2;
  EXPECT_EQ(gradients, 12 * golden.config()["student"]["depth"].get<int>() + 4 + per_head * num_levels);
  // The first file holds every gradient, the others a choice.
  if (name == "maskalign_step") {
    EXPECT_EQ(gradients, NumTensors(golden, "grad."));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenStepTest,
    ::testing::Combine(::testing::Values("maskalign_step", "maskalign_step_p16_sum",
                                         "maskalign_step_drop_path", "maskalign_step_l14"),
                       ::testing::Values("f64", "f32")),
    [](const auto& info) { return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)); });

struct TeacherCase {
  std::string name;
  std::vector<std::string> not_computed;  // heads behind the features
};

class GoldenTeacherForwardTest : public ::testing::TestWithParam<std::tuple<TeacherCase, std::string>> {};

TEST_P(GoldenTeacherForwardTest, EveryFeatureIsThatOfTheLibrary) {
  const auto& [teacher, dtype] = GetParam();
  const GoldenFile golden(teacher.name);
  ForwardOptions options;
  options.weights = options.input = golden.weights_path();
  options.dtype = dtype;
  options.teacher = golden.Options();
  options.teacher.weights.clear();
  Comparison comparison;
  ExpectEqual(options, golden.weights_path(), &comparison);
  std::vector<std::string> rest;
  for (const std::string& name : comparison.not_computed) {
    if (!absl::StartsWith(name, "output.alt")) rest.push_back(name);
  }
  EXPECT_EQ(rest, teacher.not_computed);
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenTeacherForwardTest,
    ::testing::Combine(
        ::testing::Values(TeacherCase{"teacher_timm_vit", {"output.logits"}},
                          TeacherCase{"teacher_timm_vit_layerscale_p16", {"output.logits"}},
                          TeacherCase{"teacher_hf_clip", {"output.image_embeds", "output.pooled"}},
                          TeacherCase{"teacher_hf_clip_p16", {"output.pooled"}},
                          TeacherCase{"teacher_open_clip_quickgelu", {"output.image_embeds"}},
                          TeacherCase{"teacher_open_clip_gelu_p16", {"output.image_embeds"}},
                          TeacherCase{"teacher_hf_vit_dino_p16", {}}, TeacherCase{"teacher_hf_dinov2", {}},
                          TeacherCase{"teacher_dino_original", {}}),
        ::testing::Values("f64", "f32")),
    [](const auto& info) {
      return absl::StrCat(std::get<0>(info.param).name, "_", std::get<1>(info.param));
    });

TEST(ForwardTest, OneOfSeveralInputsAtAnotherSize) {
  const GoldenFile golden("teacher_hf_clip");
  ForwardOptions options;
  options.weights = options.input = golden.weights_path();
  options.teacher.num_heads = 4;
  options.teacher.activation = "quick_gelu";
  options.name = "alt32";
  EXPECT_THAT(Forward(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("32 x 32"), HasSubstr("24 x 24"), HasSubstr("--view-size"))));
  options.teacher.image_size = 32;
  for (const char* dtype : {"f64", "f32"}) {
    options.dtype = dtype;
    Comparison comparison;
    ExpectEqual(options, golden.weights_path(), &comparison);
    EXPECT_EQ(comparison.tensors.size(), 4u);  // a level, importance, final norm and the resized table
  }
}

// A vision transformer sees the patches that it is told to, and its own normalisation of bytes.
TEST(ForwardTest, ANetworkOverVisiblePatchesAndOverBytes) {
  const TemporaryFolder folder;
  const GoldenFile golden("teacher_timm_vit");
  ForwardOptions options;
  options.weights = golden.weights_path();
  options.teacher = golden.Options();
  options.teacher.weights.clear();
  options.dtype = "f64";
  options.input = (folder / "input.safetensors").string();
  const at::Tensor view = golden.Tensor("input.view", at::kByte);
  ASSERT_THAT(SaveTensors(options.input, {{"input.view", view}}), IsOk());
  ExpectEqual(options, golden.weights_path());

  std::vector<int64_t> all(36);
  for (int64_t i = 0; i < 36; ++i) all[static_cast<size_t>(i)] = 35 - i;
  ASSERT_THAT(
      SaveTensors(options.input, {{"input.view", view}, {"input.ids_keep", at::tensor(all).repeat({2, 1})}}),
      IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap reversed, Forward(options));
  EXPECT_FALSE(reversed.contains("output.importance"));
  const at::Tensor wanted = golden.Tensor("output.hidden.3", at::kDouble);
  EXPECT_LE(
      (reversed.at("output.hidden.3").slice(1, 1) - wanted.slice(1, 1).flip(1)).abs().max().item<double>(),
      4e-7 * wanted.abs().max().item<double>());
}

// The same step from a checkpoint in our form with the teacher in a file of its own, and with its levels as
// input.
class OtherFormsTest : public ::testing::Test {
 protected:
  OtherFormsTest() {
    auto student = LoadStudentFile(golden_.file(), StepOptions(golden_, "f32").student, at::kFloat);
    EXPECT_THAT(student.status(), IsOk());
    ParameterMap tensors;
    for (const auto& [name, tensor] : student->parameters) tensors["weights." + name] = tensor;
    tensors["optimizer.cls_token.step"] = at::zeros({});
    EXPECT_THAT(SaveTensors(checkpoint_, tensors,
                            {{"afterimage.checkpoint", "1"},
                             {"step", "3"},
                             {"config",
                              R"({"heads": 4, "fusion": "linear", "head": "linear", "target_norm": "whiten",)"
                              R"( "loss_type": "smoothl1", "loss_weights": "top5"})"}}),
                IsOk());
  }

  const TemporaryFolder folder_;
  const GoldenFile golden_{"maskalign_step"};
  const std::string checkpoint_ = (folder_ / "checkpoint-3.safetensors").string();
};

TEST_F(OtherFormsTest, ACheckpointOfOursSaysItsOwnMethod) {
  ForwardOptions options;
  options.weights = checkpoint_;
  options.input = golden_.weights_path();
  options.dtype = "f64";
  options.teacher.weights = WriteTeacherOfStep(golden_, folder_.path().string());
  options.teacher.num_heads = 4;
  options.gradients = {"align.mix", "cls_token"};
  Comparison comparison;
  ExpectEqual(options, golden_.weights_path(), &comparison);
  EXPECT_EQ(static_cast<int>(comparison.tensors.size()),
            NumTensors(golden_, "output.") + 1);  // and grad.cls_token
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap tensors, Forward(options));
  const at::Tensor wanted = golden_.Tensor("grad.distill_weights", at::kDouble);
  EXPECT_LE((tensors.at("grad.align.mix") - wanted).abs().max().item<double>(),
            4e-7 * wanted.abs().max().item<double>());
}

TEST_F(OtherFormsTest, TargetsCanBeGivenAndLeftOut) {
  ForwardOptions options;
  options.weights = checkpoint_;
  options.input = (folder_ / "input.safetensors").string();
  ParameterMap input = {{"input.pixel_values", golden_.Tensor("input.pixel_values", at::kFloat)},
                        {"input.ids_keep", golden_.Tensor("output.ids_keep", at::kLong)}};
  ASSERT_THAT(SaveTensors(options.input, input), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap alone, Forward(options));
  EXPECT_TRUE(alone.contains("output.student.aligned.6"));
  EXPECT_FALSE(alone.contains("output.loss"));
  options.gradients = {"all"};
  EXPECT_THAT(Forward(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gradients need targets")));

  for (int level = 1; level <= 6; ++level) {
    const std::string name = absl::StrCat("teacher.hidden.", level);
    input["input." + name] = golden_.Tensor("output." + name, at::kFloat);
  }
  ASSERT_THAT(SaveTensors(options.input, input), IsOk());
  Comparison comparison;
  ExpectEqual(options, golden_.weights_path(), &comparison);
  input.erase("input.teacher.hidden.4");
  ASSERT_THAT(SaveTensors(options.input, input), IsOk());
  EXPECT_THAT(Forward(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                         AllOf(HasSubstr("input.teacher.hidden.4 [2, 37, 40] is missing"))));
}

}  // namespace
}  // namespace afterimage::trainer
