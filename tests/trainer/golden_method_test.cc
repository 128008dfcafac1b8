// Loss, optimiser and schedule against the official code's numbers (tests/golden). Single steps:
// forward_test.cc.
#include <ATen/ATen.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/vit/teacher_families.h"
#include "core/vit/vit.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"
#include "trainer/forward/step_forward.h"
#include "trainer/forward/student_file.h"
#include "trainer/loss/alignment_loss.h"
#include "trainer/loss/level_weights.h"
#include "trainer/model/alignment.h"
#include "trainer/model/official_names.h"
#include "trainer/model/weights_file.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/schedule.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::LargestDifference;

// Stored numbers are float64 results rounded to float32 (tests/golden/README.md).
constexpr double kDoubleTolerance = 4e-7;

// Rows of the levels that count, of an official [T, S] matrix.
at::Tensor RowsOf(const at::Tensor& matrix, const std::vector<uint32_t>& levels) {
  std::vector<at::Tensor> rows;
  for (const uint32_t level : levels) rows.push_back(matrix.select(0, level - 1));
  return at::stack(rows);
}

TEST(GoldenLossTest, EveryVariantIsThatOfTheOfficialCode) {
  const GoldenFile golden("maskalign_loss_variants");
  const auto& config = golden.config();
  const std::vector<std::string> fusions = {"simple", "linear", "sum"},
                                 heads = {"linear", "norm_linear", "mlp", "mlp2"},
                                 norms = {"none", "l2", "whiten"}, losses = {"l2", "l1", "smoothl1"},
                                 weightings = {"mean", "out",  "linear_decay", "top1", "top2",
                                               "top3", "top4", "mid0",         "mid2"};
  const at::Tensor wanted = golden.Tensor("output.loss", at::kDouble);
  const at::Tensor keep = golden.Tensor("input.ids_keep", at::kLong);
  const at::Tensor index = at::cat({at::zeros({keep.size(0), 1}, at::kLong), keep + 1}, 1);
  std::vector<at::Tensor> hidden(1), whitened, mean, inverse_deviation;
  for (int level = 1; level <= 4; ++level) {
    hidden.push_back(golden.Tensor(absl::StrCat("input.student.block.", level), at::kDouble));
    const at::Tensor raw = golden.Tensor(absl::StrCat("input.teacher.hidden.", level), at::kDouble);
    const at::Tensor kept = raw.gather(1, index.unsqueeze(-1).expand({-1, -1, raw.size(2)}));
    // What a record holds.
    whitened.push_back(LayerNormNoAffine(kept, 1e-5));
    mean.push_back(kept.mean(-1));
    inverse_deviation.push_back((kept.var(-1, /*unbiased=*/false) + 1e-5).rsqrt());
  }
  for (size_t f = 0; f < fusions.size(); ++f) {
    for (size_t h = 0; h < heads.size(); ++h) {
      for (size_t w = 0; w < weightings.size(); ++w) {
        AlignmentConfig alignment;
        alignment.fusion = *ParseFusion(fusions[f]);
        alignment.head = *ParseHead(heads[h]);
        alignment.num_teacher_levels = 4;
        alignment.student_depth = 4;
        alignment.student_width = config["dim"];
        alignment.teacher_width = config["teacher_dim"];
        const std::vector<double> all = *LevelWeights(weightings[w], 4);
        std::vector<double> weights;
        for (uint32_t level = 1; level <= 4; ++level) {
          if (all[level - 1] == 0) continue;
          alignment.levels.push_back(level);
          weights.push_back(all[level - 1]);
        }
        ParameterMap parameters = NewAlignment(alignment, 0);
        for (auto& [name, parameter] : parameters) parameter = at::Tensor();
        const std::string head_prefix = absl::StrCat("heads.", heads[h], ".");
        for (const auto& [name, view] : golden.file().tensors()) {
          absl::string_view rest = name;
          if (!absl::ConsumePrefix(&rest, head_prefix)) continue;
          const std::string ours = OurParameterName(rest, alignment.head);
          if (parameters.contains(ours)) parameters[ours] = golden.Tensor(name, at::kDouble);
        }
        if (alignment.fusion != Fusion::kSimple) {
          parameters["align.mix"] =
              RowsOf(golden.Tensor(absl::StrCat("fusion.", fusions[f], ".distill_weights"), at::kDouble),
                     alignment.levels);
        }
        for (const auto& [name, parameter] : parameters) ASSERT_TRUE(parameter.defined()) << name;
        const std::vector<at::Tensor> aligned = Align(alignment, parameters, hidden);
        for (size_t n = 0; n < norms.size(); ++n) {
          std::vector<at::Tensor> targets;
          for (const uint32_t level : alignment.levels) {
            targets.push_back(NormalizeTargets(*ParseTargetNorm(norms[n]), whitened[level - 1],
                                               mean[level - 1], inverse_deviation[level - 1]));
          }
          for (size_t l = 0; l < losses.size(); ++l) {
            const double loss =
                AlignmentLoss(*ParseLossType(losses[l]), weights, aligned, targets).item<double>();
            const double reference = wanted[f][h][n][l][w].item<double>();
            EXPECT_NEAR(loss, reference, 2.3e-6 * std::abs(reference))
                << fusions[f] << " " << heads[h] << " " << norms[n] << " " << losses[l] << " "
                << weightings[w];
          }
        }
      }
    }
  }
}

class GoldenTrajectoryTest : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(GoldenTrajectoryTest, FiveAdamWStepsEndWhereTheOfficialCodeEnds) {
  const at::ScalarType dtype = GetParam();
  const GoldenFile golden("pretrain_trajectory");
  const auto& config = golden.config();
  const auto tolerance = [&](const std::string& name, const at::Tensor& wanted) {
    return dtype == at::kDouble ? kDoubleTolerance * wanted.abs().max().item<double>() : golden.atol(name);
  };
  const auto& method = config["method"];
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(StudentFile student,
                                  LoadStudentFile(golden.file(),
                                                  {.heads = config["student"]["heads"],
                                                   .fusion = method["fusion_type"],
                                                   .head = method["head_type"],
                                                   .target_norm = method["target_norm"],
                                                   .loss_type = method["loss_type"],
                                                   .loss_weights = method["loss_weights"]},
                                                  dtype));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Objective objective, ObjectiveOf(student));
  for (auto& [name, parameter] : student.parameters)
    parameter.set_requires_grad(name != "pos_embed" && !absl::StartsWith(name, "norm."));
  TeacherOptions teacher_options;
  teacher_options.num_heads = config["teacher"]["heads"];
  teacher_options.prefix = student.teacher_prefix;
  teacher_options.activation = "quick_gelu";  // OpenAI's CLIP
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel teacher,
                                  LoadTeacherModel(golden.file(), teacher_options, dtype));
  AdamW optimizer(student.parameters, {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.05});
  const auto& s = config["schedule"];
  const WarmupCosine schedule{s["lr"], s["min_lr"], s["warmup_epochs"], s["epochs"]};
  const at::Tensor mean = *ParseTriple("0.485,0.456,0.406"), deviation = *ParseTriple("0.229,0.224,0.225");
  const at::Tensor wanted_loss = golden.Tensor("output.loss", at::kDouble);

  for (int64_t step = 0; step < 5; ++step) {
    StepInput input;
    const at::Tensor view = golden.Tensor(absl::StrCat("input.step.", step, ".view"), at::kByte);
    input.pixels = NormalizePixels(view, mean, deviation).permute({0, 3, 1, 2}).to(dtype);
    input.visible =
        golden.Tensor(absl::StrCat("input.step.", step, ".ids_shuffle"), at::kLong).slice(1, 0, 10);
    const VitOutput seen =
        VitForward(teacher.config, teacher.parameters,
                   PatchRows(TeacherPixels(teacher, input.pixels), teacher.config.patch_size));
    for (const uint32_t level : student.alignment.levels) input.teacher_levels.push_back(seen.hidden[level]);
    const at::Tensor loss = ForwardStep(student, objective, input).loss;
    EXPECT_NEAR(loss.item<double>(), wanted_loss[step].item<double>(),
                tolerance("output.loss", wanted_loss[step]))
        << step;
    loss.backward();
    optimizer.Step(schedule.At(static_cast<double>(step) / 5.0));
  }

  int compared = 0;
  for (const auto& [official, view] : golden.file().tensors()) {
    absl::string_view name = official;
    if (!absl::ConsumePrefix(&name, "output.param.")) continue;
    const std::string ours = OurParameterName(name, student.alignment.head);
    ASSERT_TRUE(student.parameters.contains(ours)) << ours;
    at::Tensor value = student.parameters.at(ours).detach();
    at::Tensor wanted = golden.Tensor(official, at::kDouble);
    if (absl::EndsWith(ours, "qkv.bias")) {  // the key third has no gradient in exact arithmetic
      const int64_t width = student.vit.width;
      value = at::cat({value.slice(0, 0, width), value.slice(0, 2 * width)});
      wanted = at::cat({wanted.slice(0, 0, width), wanted.slice(0, 2 * width)});
    }
    EXPECT_LE(LargestDifference(value, wanted), tolerance(official, wanted)) << ours;
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<int>(student.parameters.size()) - 1);  // all but pos_embed
}

INSTANTIATE_TEST_SUITE_P(Precisions, GoldenTrajectoryTest, ::testing::Values(at::kDouble, at::kFloat),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

TEST(GoldenScheduleTest, RatesAreThoseOfTheOfficialCode) {
  const GoldenFile golden("lr_schedule");
  for (const char* table : {"pretrain_50", "recipe_first_of_each_epoch"}) {
    const auto& t = golden.config()["tables"][table];
    const WarmupCosine schedule{t["lr"], t["min_lr"], t["warmup_epochs"], t["epochs"]};
    const at::Tensor wanted = golden.Tensor(absl::StrCat("output.", table), at::kDouble);
    for (int64_t step = 0; step < wanted.size(0); ++step) {
      const double rate = schedule.At(static_cast<double>(step) / t["per_epoch"].get<double>());
      EXPECT_NEAR(rate, wanted[step][0].item<double>(), 1e-7 * rate) << table << " " << step;
    }
  }
}

}  // namespace
}  // namespace afterimage::trainer
