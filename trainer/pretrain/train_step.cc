#include "trainer/pretrain/train_step.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"
#include "trainer/loss/alignment_loss.h"
#include "trainer/model/drop_path.h"
#include "trainer/optim/gradients.h"

namespace afterimage::trainer {
absl::StatusOr<std::unique_ptr<TrainStep>> TrainStep::Create(const PretrainPlan& plan,
                                                             Communicator* communicator, StepTrace* trace) {
  AFTERIMAGE_ASSIGN_OR_RETURN(Student student, Student::Create(plan.vit, plan.alignments, plan.options.seed));
  student.MoveTo(plan.device);
  return std::unique_ptr<TrainStep>(new TrainStep(plan, std::move(student), communicator, trace));
}

TrainStep::TrainStep(const PretrainPlan& plan, Student student, Communicator* communicator, StepTrace* trace)
    : plan_(plan),
      communicator_(communicator),
      trace_(trace),
      student_(std::move(student)),
      optimizer_(student_.parameters(), {.beta1 = plan.options.beta1,
                                         .beta2 = plan.options.beta2,
                                         .weight_decay = plan.options.weight_decay}) {
  if (plan.options.ema > 0) average_.emplace(student_.parameters(), plan.options.ema);
  if (communicator->num_ranks() > 1)
    buckets_.emplace(student_.parameters(), communicator, plan.options.bucket_bytes);
  if (plan.precision == Precision::kF16) scaler_.emplace();
}

at::Tensor TrainStep::Loss(const TrainingBatch& batch, int64_t begin, int64_t size,
                           const at::Tensor& drop_path) const {
  const auto rows = [&](const at::Tensor& tensor) { return tensor.narrow(0, begin, size).to(plan_.device); };
  std::vector<at::Tensor> targets;
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    targets.push_back(plan_.target_norm == TargetNorm::kWhiten
                          ? rows(batch.targets[i])
                          : NormalizeTargets(plan_.target_norm, rows(batch.targets[i]), rows(batch.mean[i]),
                                             rows(batch.inverse_deviation[i])));
  }
  std::vector<at::Tensor> aligned;
  {
    const PrecisionScope scope(plan_.precision, plan_.device.type());
    aligned = student_.Predict(rows(batch.pixels), rows(batch.visible),
                               drop_path.defined() ? drop_path.narrow(2, begin, size) : drop_path);
  }
  for (at::Tensor& prediction : aligned) prediction = prediction.to(at::kFloat);
  return AlignmentLoss(plan_.loss_type, plan_.level_weights, aligned, targets);
}

absl::StatusOr<float> TrainStep::Gradients(const TrainingBatch& batch, uint64_t step, uint64_t num_samples) {
  std::unique_ptr<PendingSum> loss_sum;
  at::Tensor sum;
  AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&]() -> absl::Status {
    const PretrainOptions& options = plan_.options;
    at::Tensor drop_path =
        DropPathFactors(options.drop_path, plan_.vit.depth, batch.slots, options.seed, step);
    if (drop_path.defined()) drop_path = drop_path.to(plan_.device);
    sum = at::zeros({1}, at::TensorOptions().dtype(at::kFloat).device(plan_.device));
    const int64_t num_parts = std::min(static_cast<int64_t>(options.accumulate), batch.size);
    for (int64_t part = 0; part < num_parts; ++part) {
      const int64_t begin = part * batch.size / num_parts;
      const int64_t size = (part + 1) * batch.size / num_parts - begin;
      at::Tensor loss;
      {
        const TracePhase phase(trace_, "forward");
        loss = Loss(batch, begin, size, drop_path);
        if (static_cast<uint64_t>(size) != num_samples)
          loss = loss * (static_cast<double>(size) / static_cast<double>(num_samples));
        sum.add_(loss.detach());
      }
      if (part + 1 == num_parts) AFTERIMAGE_RETURN_IF_ERROR(BeginSums(sum, loss_sum));
      const TracePhase phase(trace_, "backward");
      (scaler_.has_value() ? scaler_->Scaled(loss) : loss).backward();
    }
    return num_parts == 0 ? BeginSums(sum, loss_sum) : absl::OkStatus();
  }));
  AFTERIMAGE_RETURN_IF_ERROR(FinishSums(loss_sum.get()));
  return RunTorch([&] { return sum.item<float>(); });
}

absl::Status TrainStep::BeginSums(const at::Tensor& loss, std::unique_ptr<PendingSum>& loss_sum) {
  if (!buckets_.has_value()) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(loss_sum, communicator_->StartSum(loss));
  buckets_->Begin();
  return absl::OkStatus();
}

absl::Status TrainStep::FinishSums(PendingSum* loss_sum) {
  if (!buckets_.has_value()) return absl::OkStatus();
  {
    const TracePhase phase(trace_, "wait for all-reduce");
    AFTERIMAGE_RETURN_IF_ERROR(buckets_->Finish());
    AFTERIMAGE_RETURN_IF_ERROR(loss_sum->Wait());
  }
  int bucket = 0;
  for (const GradientBuckets::Span& span : buckets_->spans())
    trace_->Sum(bucket++, span.begin, span.end, span.bytes);
  return absl::OkStatus();
}

absl::StatusOr<UpdateResult> TrainStep::Update(double lr) {
  const TracePhase phase(trace_, "optimiser");
  return RunTorch([&] {
    using Outcome = UpdateResult::Outcome;
    const bool finite = !scaler_.has_value() || scaler_->Unscale(student_.parameters());
    if (scaler_.has_value()) {
      if (!finite && scaler_->exhausted())
        return UpdateResult{.outcome = Outcome::kNotFinite, .gradient_norm = std::nan("")};
      scaler_->Update(finite);
    }
    if (!finite) {
      DropGradients(student_.parameters());
      return UpdateResult{.outcome = Outcome::kSkipped, .gradient_norm = std::nan("")};
    }
    constexpr double kNoClipping = std::numeric_limits<double>::infinity();
    const double most = plan_.options.clip_grad > 0 ? plan_.options.clip_grad : kNoClipping;
    const double norm = ClipGradients(student_.parameters(), most);
    if (!std::isfinite(norm)) return UpdateResult{.outcome = Outcome::kNotFinite, .gradient_norm = norm};
    optimizer_.Step(lr);
    if (average_.has_value()) average_->Update();
    return UpdateResult{.gradient_norm = norm};
  });
}

absl::StatusOr<at::Tensor> TrainStep::PredictHighest(const at::Tensor& pixels,
                                                     const at::Tensor& visible) const {
  return RunTorch([&] {
    const c10::NoGradGuard no_grad;
    const PrecisionScope scope(plan_.precision, plan_.device.type());
    return student_.Predict(pixels.to(plan_.device), visible.to(plan_.device), /*drop_path=*/{})
        .back()
        .to(at::kCPU, at::kFloat)
        .contiguous();
  });
}

absl::StatusOr<float> TrainStep::LossOf(const TrainingBatch& batch) const {
  return RunTorch([&] {
    const c10::NoGradGuard no_grad;
    return Loss(batch, 0, batch.size, /*drop_path=*/{}).item<float>();
  });
}

void TrainStep::Fill(Checkpoint& checkpoint) const {
  checkpoint.weights = student_.parameters();
  checkpoint.optimizer = optimizer_.State();
  if (average_.has_value()) checkpoint.average = average_->values();
  if (scaler_.has_value()) checkpoint.values[kLossScaleValue] = scaler_->Serialize();
}

absl::Status TrainStep::Load(const Checkpoint& checkpoint) {
  AFTERIMAGE_RETURN_IF_ERROR(LoadWeights(checkpoint.weights));
  if (average_.has_value()) {
    AFTERIMAGE_RETURN_IF_ERROR(
        WithContext(CopyParameters(checkpoint.average, average_->values()), "average of the weights"));
  }
  if (scaler_.has_value()) {
    const auto scale = checkpoint.values.find(kLossScaleValue);
    if (scale == checkpoint.values.end()) return absl::InvalidArgumentError("the loss scale is missing");
    AFTERIMAGE_ASSIGN_OR_RETURN(scaler_, LossScaler::Parse(scale->second));
  }
  return optimizer_.LoadState(checkpoint.optimizer);
}

absl::Status TrainStep::LoadWeights(const ParameterMap& weights) {
  return CopyParameters(weights, student_.parameters());
}

}  // namespace afterimage::trainer
