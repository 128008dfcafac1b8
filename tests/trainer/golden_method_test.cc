// The student, its alignment and loss, the gradients and the optimiser against the official code's numbers
// (tests/golden).
#include <ATen/ATen.h>

#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "core/vit/teacher_families.h"
#include "core/vit/tensor_file.h"
#include "core/vit/vit.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/loss/alignment_loss.h"
#include "trainer/loss/level_weights.h"
#include "trainer/model/alignment.h"
#include "trainer/model/student.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/schedule.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::LargestDifference;
using ::afterimage::testing::TemporaryFolder;

// Stored numbers are float64 results rounded to float32 (tests/golden/README.md).
constexpr double kDoubleTolerance = 4e-7;

// Our name of an official adaptor parameter, or the name itself.
std::string OurName(absl::string_view official, Head head) {
  absl::string_view rest = official;
  if (official == "distill_weights") return "align.mix";
  if (!absl::ConsumePrefix(&rest, "distill_heads.")) return std::string(official);
  const size_t dot = rest.find('.');
  const int level = std::stoi(std::string(rest.substr(0, dot))) + 1;
  std::string tail(rest.substr(dot));
  if (head == Head::kNormLinear) tail = absl::StrReplaceAll(tail, {{".0.", ".norm."}, {".1.", "."}});
  if (head == Head::kMlp) tail = absl::StrReplaceAll(tail, {{".0.", ".fc1."}, {".2.", ".fc2."}});
  if (head == Head::kMlp2)
    tail = absl::StrReplaceAll(tail, {{".0.", ".fc1."}, {".1.", ".norm."}, {".2.", ".fc2."}});
  return absl::StrCat("align.heads.", level, tail);
}

// Rows of the levels that count, of an official [T, S] matrix.
at::Tensor RowsOf(const at::Tensor& matrix, const std::vector<uint32_t>& levels) {
  std::vector<at::Tensor> rows;
  for (const uint32_t level : levels) rows.push_back(matrix.select(0, level - 1));
  return at::stack(rows);
}

// A golden step's student, alignment and loss, in `dtype`.
struct Method {
  VitConfig vit;
  AlignmentConfig alignment;
  std::vector<double> weights;
  ParameterMap parameters;

  Method(const GoldenFile& golden, at::ScalarType dtype) {
    const auto& config = golden.config();
    const auto& student = config["student"];
    vit = {
        .image_size = student["img"],
        .patch_size = student["patch"],
        .width = student["dim"],
        .depth = student["depth"],
        .heads = student["heads"],
        .mlp_width = static_cast<int64_t>(student["dim"].get<double>() * student["mlp_ratio"].get<double>())};
    const auto& method = config["method"];
    alignment.fusion = *ParseFusion(method["fusion_type"].get<std::string>());
    alignment.head = *ParseHead(method["head_type"].get<std::string>());
    alignment.num_teacher_levels = config["teacher"]["depth"];
    alignment.teacher_width = config["teacher"]["hidden"];
    alignment.student_depth = vit.depth;
    alignment.student_width = vit.width;
    const std::vector<double> all =
        *LevelWeights(method["loss_weights"].get<std::string>(), alignment.num_teacher_levels);
    for (uint32_t level = 1; level <= alignment.num_teacher_levels; ++level) {
      if (all[level - 1] == 0) continue;
      alignment.levels.push_back(level);
      weights.push_back(all[level - 1]);
    }
    const ParameterMap ours = NewAlignment(alignment, 0);
    for (const auto& [name, shape] : VitParameterShapes(vit)) parameters[name] = golden.Tensor(name, dtype);
    for (const auto& [name, view] : golden.file().tensors()) {
      const std::string our_name = OurName(name, alignment.head);
      if (!ours.contains(our_name)) continue;
      at::Tensor tensor = golden.Tensor(name, dtype);
      if (our_name == "align.mix") tensor = RowsOf(tensor, alignment.levels);
      parameters[our_name] = tensor;
    }
    EXPECT_EQ(parameters.size(), ours.size() + VitParameterShapes(vit).size());
    for (auto& [name, parameter] : parameters)
      parameter.set_requires_grad(name != "pos_embed" && !absl::StartsWith(name, "norm."));
  }
};

class GoldenStepTest : public ::testing::TestWithParam<std::tuple<std::string, bool>> {};

TEST_P(GoldenStepTest, BlocksPredictionsLossAndGradientsAreThoseOfTheOfficialCode) {
  const auto [name, in_double] = GetParam();
  const at::ScalarType dtype = in_double ? at::kDouble : at::kFloat;
  const GoldenFile golden(name);
  Method method(golden, dtype);
  const auto expect_equal = [&, in_double = in_double](const std::string& what, const at::Tensor& value,
                                                       at::Tensor wanted) {
    const double tolerance =
        in_double ? kDoubleTolerance * std::max(1e-3, wanted.abs().max().item<double>()) : golden.atol(what);
    EXPECT_LE(LargestDifference(value, wanted), tolerance) << what;
  };

  VitForwardOptions options;
  options.visible = golden.Tensor("input.ids_shuffle", at::kLong)
                        .slice(1, 0, golden.config()["num_visible"].get<int64_t>());
  if (golden.Has("input.drop_path_keep")) {
    const int64_t depth = method.vit.depth;
    const double rate = golden.config()["student"]["drop_path_rate"];
    options.drop_path = golden.Tensor("input.drop_path_keep", dtype).clone();
    for (int64_t block = 0; block < depth; ++block) {
      // The reference's rates are float32 numbers.
      const float drop = static_cast<float>(rate) * static_cast<float>(block) / static_cast<float>(depth - 1);
      options.drop_path.select(0, block).div_(1.0 - static_cast<double>(drop));
    }
  }
  const at::Tensor rows = PatchRows(golden.Tensor("input.pixel_values", dtype), method.vit.patch_size);
  const VitOutput output = VitForward(method.vit, method.parameters, rows, options);
  for (int64_t block = 1; block <= method.vit.depth; ++block) {
    const std::string what = absl::StrCat("output.student.block.", block);
    expect_equal(what, output.hidden[block], golden.Tensor(what, dtype));
  }

  const std::vector<at::Tensor> aligned = Align(method.alignment, method.parameters, output.hidden);
  std::vector<at::Tensor> targets;
  for (size_t i = 0; i < aligned.size(); ++i) {
    const uint32_t level = method.alignment.levels[i];
    const std::string what = absl::StrCat("output.student.aligned.", level);
    expect_equal(what, aligned[i], golden.Tensor(what, dtype));
    // Recomputed from the hidden states: the stored targets are rounded to float32.
    const std::string hidden = absl::StrCat("output.teacher.hidden.", level);
    const at::Tensor whole = LayerNormNoAffine(golden.Tensor(hidden, dtype), 1e-5);
    const at::Tensor index =
        at::cat({at::zeros({options.visible.size(0), 1}, at::kLong), options.visible + 1}, 1);
    targets.push_back(whole.gather(1, index.unsqueeze(-1).expand({-1, -1, whole.size(2)})));
    const std::string target = absl::StrCat("output.teacher.target.", level);
    expect_equal(target, targets.back(), golden.Tensor(target, dtype));
  }
  const at::Tensor loss = AlignmentLoss(LossType::kSmoothL1, method.weights, aligned, targets);
  expect_equal("output.loss", loss.reshape({1}), golden.Tensor("output.loss", dtype));

  loss.backward();
  int compared = 0;
  for (const auto& [official, view] : golden.file().tensors()) {
    absl::string_view parameter = official;
    if (!absl::ConsumePrefix(&parameter, "grad.")) continue;
    const std::string our_name = OurName(parameter, method.alignment.head);
    ASSERT_TRUE(method.parameters.contains(our_name)) << our_name;
    ASSERT_TRUE(method.parameters.at(our_name).grad().defined()) << our_name;
    at::Tensor wanted = golden.Tensor(official, dtype);
    if (our_name == "align.mix") wanted = RowsOf(wanted, method.alignment.levels);
    expect_equal(official, method.parameters.at(our_name).grad(), wanted);
    ++compared;
  }
  // The first file holds every gradient (of all but pos_embed, norm.weight and norm.bias), the others a
  // choice.
  if (name == "maskalign_step") {
    EXPECT_EQ(compared, static_cast<int>(method.parameters.size()) - 3);
  }
  EXPECT_GE(compared, 10);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenStepTest,
                         ::testing::Combine(::testing::Values("maskalign_step", "maskalign_step_p16_sum",
                                                              "maskalign_step_drop_path"),
                                            ::testing::Bool()));

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
          const std::string ours = OurName(rest, alignment.head);
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

// The teacher of a golden file, whose tensors have a prefix there.
TeacherModel TeacherOf(const GoldenFile& golden, const std::string& folder, at::ScalarType dtype) {
  std::map<std::string, TensorView> tensors;
  for (const auto& [name, view] : golden.file().tensors()) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, "clip_model.") && !absl::StrContains(rest, "position_ids"))
      tensors[std::string(rest)] = view;
  }
  EXPECT_THAT(WriteSafetensors(folder + "/teacher.safetensors", tensors), IsOk());
  const auto file = SafetensorsFile::Open(folder + "/teacher.safetensors");
  TeacherOptions options;
  options.num_heads = golden.config()["teacher"]["heads"];
  options.activation = "quick_gelu";  // OpenAI's CLIP
  auto teacher = LoadTeacherModel(**file, options, dtype);
  EXPECT_THAT(teacher.status(), IsOk());
  return *std::move(teacher);
}

TEST(GoldenTrajectoryTest, FiveAdamWStepsInDoublePrecisionEndWhereTheOfficialCodeEnds) {
  const TemporaryFolder folder;
  const GoldenFile golden("pretrain_trajectory");
  const auto& config = golden.config();
  Method method(golden, at::kDouble);
  const TeacherModel teacher = TeacherOf(golden, folder.path().string(), at::kDouble);
  AdamW optimizer(method.parameters, {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.05});
  const auto& s = config["schedule"];
  const WarmupCosine schedule{s["lr"], s["min_lr"], s["warmup_epochs"], s["epochs"]};
  const at::Tensor mean = *ParseTriple("0.485,0.456,0.406"), deviation = *ParseTriple("0.229,0.224,0.225");
  const at::Tensor clip_mean = at::tensor({teacher.mean[0], teacher.mean[1], teacher.mean[2]}, at::kDouble);
  const at::Tensor clip_deviation = at::tensor({teacher.std[0], teacher.std[1], teacher.std[2]}, at::kDouble);
  const auto patch_rows = [&](const at::Tensor& pixels) {
    return PatchRows(pixels.permute({0, 3, 1, 2}), method.vit.patch_size);
  };
  const at::Tensor wanted_loss = golden.Tensor("output.loss", at::kDouble);

  for (int64_t step = 0; step < 5; ++step) {
    const at::Tensor view = golden.Tensor(absl::StrCat("input.step.", step, ".view"), at::kByte);
    const at::Tensor visible =
        golden.Tensor(absl::StrCat("input.step.", step, ".ids_shuffle"), at::kLong).slice(1, 0, 10);
    const VitOutput seen = VitForward(teacher.config, teacher.parameters,
                                      patch_rows(NormalizePixels(view, clip_mean, clip_deviation)));
    const at::Tensor index = at::cat({at::zeros({visible.size(0), 1}, at::kLong), visible + 1}, 1);
    std::vector<at::Tensor> targets;
    for (const uint32_t level : method.alignment.levels) {
      const at::Tensor whole = LayerNormNoAffine(seen.hidden[level], 1e-5);
      targets.push_back(whole.gather(1, index.unsqueeze(-1).expand({-1, -1, whole.size(2)})));
    }
    VitForwardOptions options;
    options.visible = visible;
    const VitOutput output =
        VitForward(method.vit, method.parameters,
                   patch_rows(NormalizePixels(view, mean, deviation)).to(at::kDouble), options);
    const at::Tensor loss = AlignmentLoss(LossType::kSmoothL1, method.weights,
                                          Align(method.alignment, method.parameters, output.hidden), targets);
    EXPECT_NEAR(loss.item<double>(), wanted_loss[step].item<double>(), 1e-6) << step;
    loss.backward();
    optimizer.Step(schedule.At(static_cast<double>(step) / 5.0));
  }

  const ParameterMap alignment = NewAlignment(method.alignment, 0);
  int compared = 0;
  for (const auto& [official, view] : golden.file().tensors()) {
    absl::string_view name = official;
    if (!absl::ConsumePrefix(&name, "output.param.")) continue;
    const std::string ours = OurName(name, method.alignment.head);
    if (!method.parameters.contains(ours)) continue;  // heads of levels without weight: we have none
    at::Tensor value = method.parameters.at(ours).detach();
    at::Tensor wanted = golden.Tensor(official, at::kDouble);
    if (ours == "align.mix") wanted = RowsOf(wanted, method.alignment.levels);
    if (absl::EndsWith(ours, "qkv.bias")) {  // the key third has no gradient in exact arithmetic
      const int64_t width = method.vit.width;
      value = at::cat({value.slice(0, 0, width), value.slice(0, 2 * width)});
      wanted = at::cat({wanted.slice(0, 0, width), wanted.slice(0, 2 * width)});
    }
    EXPECT_LE(LargestDifference(value, wanted), kDoubleTolerance * wanted.abs().max().item<double>()) << ours;
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<int>(method.parameters.size()) - 1);  // all but pos_embed
}

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
