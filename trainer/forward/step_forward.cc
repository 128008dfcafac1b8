#include "trainer/forward/step_forward.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/vit/position_tables.h"
#include "trainer/forward/forward_input.h"
#include "trainer/loss/level_weights.h"

namespace afterimage::trainer {
namespace {

at::Tensor ChannelTensor(const ChannelValues& values, const at::Tensor& like) {
  return at::tensor({values[0], values[1], values[2]}, at::kDouble).view({1, 3, 1, 1}).to(like.scalar_type());
}

// Rows of the class token and the visible patches.
at::Tensor VisibleTokens(const at::Tensor& whole, const at::Tensor& visible) {
  if (!visible.defined()) return whole;
  const at::Tensor tokens = at::cat({at::zeros({visible.size(0), 1}, at::kLong), visible + 1}, 1);
  return whole.gather(1, tokens.unsqueeze(-1).expand({-1, -1, whole.size(2)}));
}

}  // namespace

absl::StatusOr<Objective> ObjectiveOf(const StudentFile& student) {
  Objective objective;
  AFTERIMAGE_ASSIGN_OR_RETURN(objective.target_norm, ParseTargetNorm(student.options.target_norm));
  AFTERIMAGE_ASSIGN_OR_RETURN(objective.loss_type, ParseLossType(student.options.loss_type));
  const AlignmentConfig& alignment = student.alignment;
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const std::vector<double> all,
      LevelWeights(student.options.loss_weights, static_cast<int>(alignment.num_teacher_levels)));
  for (uint32_t level = 1; level <= alignment.num_teacher_levels; ++level) {
    if (std::ranges::binary_search(alignment.levels, level)) {
      objective.weights.push_back(all[level - 1]);
    } else if (all[level - 1] != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--loss-weights ", student.options.loss_weights, " weighs level ", level,
                       ", for which the file has no head; it has those of levels ",
                       absl::StrJoin(alignment.levels, ", ")));
    }
  }
  return objective;
}

StepOutput ForwardStep(const StudentFile& student, const Objective& objective, const StepInput& input) {
  VitForwardOptions options;
  options.visible = input.visible;
  options.drop_path = input.drop_path;
  const std::vector<at::Tensor> hidden =
      VitForward(student.vit, student.parameters, PatchRows(input.pixels, student.vit.patch_size), options)
          .hidden;
  StepOutput output;
  output.blocks.assign(hidden.begin() + 1, hidden.end());
  output.mixed = MixLevels(student.alignment, student.parameters, hidden);
  output.aligned = ApplyHeads(student.alignment, student.parameters, output.mixed);
  if (input.teacher_levels.empty()) return output;

  std::vector<double> weights;
  std::vector<at::Tensor> aligned, targets, losses;
  for (size_t i = 0; i < output.aligned.size(); ++i) {
    output.targets.push_back(
        VisibleTokens(NormalizeRawTargets(objective.target_norm, input.teacher_levels[i]), input.visible));
    losses.push_back(LevelLoss(objective.loss_type, output.aligned[i].detach(), output.targets[i]));
    if (objective.weights[i] == 0) continue;  // its parameters get no gradient, not one of zeros
    weights.push_back(objective.weights[i]);
    aligned.push_back(output.aligned[i]);
    targets.push_back(output.targets[i]);
  }
  output.loss_per_level = at::stack(losses);
  output.loss = AlignmentLoss(objective.loss_type, weights, aligned, targets);
  return output;
}

at::Tensor TeacherPixels(const TeacherModel& teacher, const at::Tensor& student_pixels) {
  const c10::NoGradGuard no_grad;
  const int64_t size = teacher.config.image_size;
  at::Tensor pixels = student_pixels;
  if (pixels.size(2) != size || pixels.size(3) != size) pixels = ResizePixels(pixels, size, size);
  if (teacher.mean == kImageNetMean && teacher.std == kImageNetStd) return pixels;
  const at::Tensor raw = pixels * ChannelTensor(kImageNetStd, pixels) + ChannelTensor(kImageNetMean, pixels);
  return (raw - ChannelTensor(teacher.mean, pixels)) / ChannelTensor(teacher.std, pixels);
}

}  // namespace afterimage::trainer
