#include "trainer/pretrain/train_step.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"
#include "trainer/loss/alignment_loss.h"
#include "trainer/model/drop_path.h"

namespace afterimage::trainer {

absl::StatusOr<std::unique_ptr<TrainStep>> TrainStep::Create(const PretrainPlan& plan) {
  AFTERIMAGE_ASSIGN_OR_RETURN(Student student, Student::Create(plan.vit, plan.alignment, plan.options.seed));
  student.MoveTo(plan.device);
  return std::unique_ptr<TrainStep>(new TrainStep(plan, std::move(student)));
}

TrainStep::TrainStep(const PretrainPlan& plan, Student student)
    : plan_(plan),
      student_(std::move(student)),
      optimizer_(student_.parameters(), {.beta1 = plan.options.beta1,
                                         .beta2 = plan.options.beta2,
                                         .weight_decay = plan.options.weight_decay}) {}

at::Tensor TrainStep::Loss(const TrainingBatch& batch, uint64_t step) const {
  const auto rows = [&](const at::Tensor& tensor) {
    return tensor.narrow(0, 0, batch.size).to(plan_.device);
  };
  std::vector<at::Tensor> targets;
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    targets.push_back(plan_.target_norm == TargetNorm::kWhiten
                          ? rows(batch.targets[i])
                          : NormalizeTargets(plan_.target_norm, rows(batch.targets[i]), rows(batch.mean[i]),
                                             rows(batch.inverse_deviation[i])));
  }
  at::Tensor drop_path =
      DropPathFactors(plan_.options.drop_path, plan_.vit.depth, batch.size, plan_.options.seed, step);
  if (drop_path.defined()) drop_path = drop_path.to(plan_.device);
  const std::vector<at::Tensor> aligned =
      student_.Predict(rows(batch.pixels), rows(batch.visible), drop_path);
  return AlignmentLoss(plan_.loss_type, plan_.level_weights, aligned, targets);
}

absl::StatusOr<float> TrainStep::Gradients(const TrainingBatch& batch, uint64_t step) {
  return RunTorch([&] {
    const at::Tensor loss = Loss(batch, step);
    loss.backward();
    return loss.item<float>();
  });
}

absl::Status TrainStep::Update(double lr) {
  return RunTorch([&] { optimizer_.Step(lr); });
}

void TrainStep::Fill(Checkpoint& checkpoint) const {
  checkpoint.weights = student_.parameters();
  checkpoint.optimizer = optimizer_.State();
}

absl::Status TrainStep::Load(const Checkpoint& checkpoint) {
  AFTERIMAGE_RETURN_IF_ERROR(CopyParameters(checkpoint.weights, student_.parameters()));
  return optimizer_.LoadState(checkpoint.optimizer);
}

}  // namespace afterimage::trainer
