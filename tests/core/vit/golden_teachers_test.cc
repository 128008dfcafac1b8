// Every family against the reference libraries: float64 sharply, float32 within the stored tolerance.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "core/vit/teacher_families.h"
#include "core/vit/vit.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::LargestDifference;

struct Case {
  std::string name;
  std::string family;
  bool resizes_in_float = false;  // the library resizes its table in float32 even in a float64 run
  bool has_other_sizes = true;    // the file holds results at another image size
};

class GoldenTeacherTest : public ::testing::TestWithParam<Case> {
 protected:
  GoldenTeacherTest() : golden_(GetParam().name) {}

  // Of a stored output: the sharp tolerance in float64, the JSON's in float32.
  double Tolerance(const std::string& name, at::ScalarType type) const {
    if (type == at::kFloat) return golden_.atol(name);
    const bool resized = name.starts_with("output.alt");
    const double relative = resized && GetParam().resizes_in_float ? 2e-6 : 4e-7;
    return relative * golden_.Tensor(name, at::kDouble).abs().max().item<double>();
  }

  void ExpectEqual(const at::Tensor& actual, const std::string& name, at::ScalarType type) const {
    SCOPED_TRACE(name);
    EXPECT_LE(LargestDifference(actual, golden_.Tensor(name, at::kDouble)), Tolerance(name, type));
  }

  // Runs `input` and compares what is stored of it under "output.<prefix>".
  void CheckForward(const std::string& prefix, uint32_t image_size, at::ScalarType type) const {
    const c10::InferenceMode inference;
    TeacherOptions options = golden_.Options();
    options.image_size = image_size;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                    LoadTeacherModel(golden_.file(), options, type));
    EXPECT_EQ(model.family, GetParam().family);
    const at::Tensor pixels = golden_.Tensor(absl::StrCat("input.", prefix, "pixel_values"), type);
    const VitOutput output =
        VitForward(model.config, model.parameters, PatchRows(pixels, model.config.patch_size),
                   {.with_importance = true});
    ASSERT_EQ(output.hidden.size(), static_cast<size_t>(model.config.depth) + 1);
    EXPECT_EQ(model.config.num_registers, golden_.config().value("num_registers", 0));
    int num_compared = 0;
    for (size_t i = 0; i < output.hidden.size(); ++i) {
      const std::string hidden = absl::StrCat("output.", prefix, "hidden.", i);
      if (golden_.Has(hidden)) {
        ExpectEqual(output.hidden[i], hidden, type);
        ++num_compared;
      }
      const std::string target = absl::StrCat("output.", prefix, "target.", i);
      if (golden_.Has(target)) {
        ExpectEqual(LayerNormNoAffine(output.hidden[i], 1e-5), target, type);
        ++num_compared;
      }
    }
    EXPECT_EQ(num_compared, prefix.empty() ? 2 * model.config.depth + 1 : 1);
    ExpectEqual(output.importance, absl::StrCat("output.", prefix, "importance"), type);
    const at::Tensor& last = output.hidden.back();
    ExpectEqual(at::layer_norm(last, {last.size(-1)}, model.parameters.at("norm.weight"),
                               model.parameters.at("norm.bias"), model.config.layer_norm_eps),
                absl::StrCat("output.", prefix, "final_norm"), type);
    if (!prefix.empty()) {
      ExpectEqual(model.parameters.at("pos_embed").squeeze(0),
                  absl::StrCat("output.", prefix, "position_table"), type);
    }
  }

  const GoldenFile golden_;
};

TEST_P(GoldenTeacherTest, EveryLevelAndImportanceInFloat64) { CheckForward("", 0, at::kDouble); }
TEST_P(GoldenTeacherTest, EveryLevelAndImportanceInFloat32) { CheckForward("", 0, at::kFloat); }

TEST_P(GoldenTeacherTest, OtherImageSizesResizeThePositionTable) {
  int num_sizes = 0;
  for (const uint32_t size : {16u, 32u, 96u}) {
    const std::string prefix = absl::StrCat("alt", size, ".");
    if (!golden_.Has(absl::StrCat("input.", prefix, "view"))) continue;
    ++num_sizes;
    CheckForward(prefix, size, at::kDouble);
    CheckForward(prefix, size, at::kFloat);
  }
  EXPECT_EQ(num_sizes > 0, GetParam().has_other_sizes);
}

TEST_P(GoldenTeacherTest, AskingForTheNativeSizeChangesNothing) {
  TeacherOptions options = golden_.Options();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel plain,
                                  LoadTeacherModel(golden_.file(), options, at::kFloat));
  options.image_size = golden_.config()["native_image_size"];
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel sized,
                                  LoadTeacherModel(golden_.file(), options, at::kFloat));
  EXPECT_FALSE(sized.resized());
  EXPECT_TRUE(at::equal(plain.parameters.at("pos_embed"), sized.parameters.at("pos_embed")));
  EXPECT_EQ(plain.config.ToCanonical(), sized.config.ToCanonical());
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenTeacherTest,
                         ::testing::Values(Case{"teacher_timm_vit", "timm_vit", true},
                                           Case{"teacher_timm_vit_layerscale_p16", "timm_vit", true, false},
                                           Case{"teacher_timm_registers", "timm_vit", true},
                                           Case{"teacher_timm_registers_embedded", "timm_vit", true},
                                           Case{"teacher_timm_swiglu", "timm_vit", true, false},
                                           Case{"teacher_timm_deit_distilled", "timm_vit", true},
                                           Case{"teacher_hf_clip", "hf_clip"},
                                           Case{"teacher_hf_clip_p16", "hf_clip", false, false},
                                           Case{"teacher_open_clip_quickgelu", "open_clip"},
                                           Case{"teacher_open_clip_gelu_p16", "open_clip", false, false},
                                           Case{"teacher_hf_vit_dino_p16", "hf_vit"},
                                           Case{"teacher_hf_deit", "hf_deit"},
                                           Case{"teacher_hf_mae", "hf_mae"},
                                           Case{"teacher_hf_dinov2", "hf_dinov2", true},
                                           Case{"teacher_hf_dinov2_registers", "hf_dinov2", true},
                                           Case{"teacher_hf_dinov2_swiglu", "hf_dinov2", true, false},
                                           Case{"teacher_dino_original", "dino_original"},
                                           Case{"teacher_dinov2_original", "dinov2_original", true},
                                           Case{"teacher_dinov2_original_giant", "dinov2_original", true},
                                           Case{"teacher_mae", "mae", false, false}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace afterimage
