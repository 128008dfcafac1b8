// One step of the method without its update: student, alignment, targets and loss.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "absl/status/statusor.h"
#include "core/vit/teacher_families.h"
#include "trainer/forward/student_file.h"
#include "trainer/loss/alignment_loss.h"

namespace afterimage::trainer {

struct Objective {
  TargetNorm target_norm = TargetNorm::kWhiten;
  LossType loss_type = LossType::kSmoothL1;
  std::vector<double> weights;  // of the student's alignment.levels; a level with 0 takes no part
};

// As the student's resolved options say it. InvalidArgument: an unknown name, a level that is weighed and has
// no head.
absl::StatusOr<Objective> ObjectiveOf(const StudentFile& student);

struct StepInput {
  at::Tensor pixels;     // [B, 3, S, S], normalised for the student
  at::Tensor visible;    // int64 [B, n], or undefined: all patches in order
  at::Tensor drop_path;  // as VitForwardOptions
  // Of alignment.levels: raw outputs of the teacher [B, 1 + N, D_t], or undefined where the step has no
  // targets.
  std::vector<at::Tensor> teacher_levels;
};

struct StepOutput {
  std::vector<at::Tensor> blocks;   // of blocks 1..S, [B, 1 + n, D]
  std::vector<at::Tensor> mixed;    // of alignment.levels, [B, 1 + n, D]
  std::vector<at::Tensor> aligned;  // [B, 1 + n, D_t]
  std::vector<at::Tensor>
      targets;                // normalised, class token and visible patches; empty without teacher levels
  at::Tensor loss_per_level;  // [levels], unweighted, without a graph
  at::Tensor loss;            // a scalar with its graph
};

// Throws c10::Error where shapes do not fit.
StepOutput ForwardStep(const StudentFile& student, const Objective& objective, const StepInput& input);

// The teacher's input from what the student gets: resized where the teacher's is smaller, ImageNet's
// normalisation undone, the teacher's applied (maskalign.md section 1.2).
at::Tensor TeacherPixels(const TeacherModel& teacher, const at::Tensor& student_pixels);

}  // namespace afterimage::trainer
