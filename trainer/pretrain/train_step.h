// The arithmetic of one step: student, loss, gradients, update.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/data/training_batch.h"
#include "trainer/distributed/communicator.h"
#include "trainer/distributed/gradient_buckets.h"
#include "trainer/model/student.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/loss_scaler.h"
#include "trainer/optim/weight_average.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/run/step_trace.h"

namespace afterimage::trainer {

// What became of an update.
struct UpdateResult {
  enum class Outcome {
    kDone,
    kSkipped,    // gradients overflowed in half precision: they are dropped, the next loss is scaled by less
    kNotFinite,  // the gradients are not finite, and precision is not the reason; nothing has changed
  };
  Outcome outcome = Outcome::kDone;
  double gradient_norm = 0;  // of all together, before clipping; finite where the update was done
};

// Holds all that training changes. Nothing else than the weights, their average, the optimiser's state and
// the number of the step affects what a step does. The ranks of a run make the same steps at once, and have
// the same weights after each. One thread at a time.
class TrainStep {
 public:
  // A fresh student of `plan`. Plan, communicator and trace must outlive the step. InvalidArgument: an
  // impossible architecture.
  static absl::StatusOr<std::unique_ptr<TrainStep>> Create(const PretrainPlan& plan,
                                                           Communicator* communicator, StepTrace* trace);

  // The loss of the batches of all ranks, which have `num_samples` samples together (not 0; this rank's may
  // be empty): in options.accumulate parts, each weighed by its share of the samples. The gradients are added
  // to the student's, summed over the ranks. `step` of the run says which paths are dropped.
  absl::StatusOr<float> Gradients(const TrainingBatch& batch, uint64_t step, uint64_t num_samples);
  // One update at this learning rate, with clipped gradients where the options say so; the gradients are gone
  // afterwards unless they were not finite.
  absl::StatusOr<UpdateResult> Update(double lr);
  // With Precision::kF16.
  const std::optional<LossScaler>& scaler() const { return scaler_; }

  // What the student says of samples as in TrainingBatch (any number of them, no drop path): the prediction
  // of the highest level, float [B, 1 + n, D] on the CPU.
  absl::StatusOr<at::Tensor> PredictHighest(const at::Tensor& pixels, const at::Tensor& visible) const;

  // The loss of a batch that is not empty, without drop path and without gradients.
  absl::StatusOr<float> LossOf(const TrainingBatch& batch) const;

  // Weights, their average and the optimiser's state, sharing memory; of `values` the loss scale.
  void Fill(Checkpoint& checkpoint) const;
  // InvalidArgument names what is missing, extra or of another shape.
  absl::Status Load(const Checkpoint& checkpoint);
  // The weights alone, likewise.
  absl::Status LoadWeights(const ParameterMap& weights);

 private:
  TrainStep(const PretrainPlan& plan, Student student, Communicator* communicator, StepTrace* trace);
  // Around the backward pass that completes the gradients.
  absl::Status BeginSums(const at::Tensor& loss, std::unique_ptr<PendingSum>& loss_sum);
  absl::Status FinishSums(PendingSum* loss_sum);
  // Of the rows from `begin` on; `drop_path` is of the whole batch.
  at::Tensor Loss(const TrainingBatch& batch, int64_t begin, int64_t size, const at::Tensor& drop_path) const;

  const PretrainPlan& plan_;
  Communicator* const communicator_;
  StepTrace* const trace_;
  Student student_;
  std::optional<GradientBuckets> buckets_;  // with several ranks
  AdamW optimizer_;
  std::optional<WeightAverage> average_;
  std::optional<LossScaler> scaler_;
};

}  // namespace afterimage::trainer
