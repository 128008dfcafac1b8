// Pictures of what the student sees and says, for people who watch a run.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/analysis/pca.h"
#include "core/drawing/patch_grid.h"
#include "core/image/rgb_image.h"
#include "trainer/data/training_batch.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/train_step.h"

namespace afterimage::trainer {

// A few samples of the run's first batch, the same in all its parts: they lie in
// <out>/picture_samples.safetensors. Not thread-safe.
class SamplePictures {
 public:
  static constexpr int64_t kNumSamples = 4;

  // With the samples of an earlier part where there are any. `plan` must outlive the object. Errors of
  // reading them.
  static absl::StatusOr<std::unique_ptr<SamplePictures>> Open(const PretrainPlan& plan);

  // The first batch that is not empty gives the samples, if an earlier part has not; later calls do nothing.
  // ResourceExhausted: the disk is full; the samples are there all the same.
  absl::Status Offer(const TrainingBatch& batch);

  bool has_samples() const { return target_.defined(); }

  // One row per sample: its visible patches, the teacher's features of the highest level there, and what the
  // student predicts of them. Features are three principal components of the teacher's, as red, green and
  // blue, with one range for all: equal colours are equal features. FailedPrecondition: no samples yet.
  absl::StatusOr<RgbImage> Draw(const TrainStep& train_step);

 private:
  explicit SamplePictures(const PretrainPlan& plan);
  std::string Path() const;
  absl::Status Prepare();

  const PretrainPlan& plan_;
  const int grid_;     // patches per side
  at::Tensor pixels_;  // as in TrainingBatch, of the samples alone
  at::Tensor visible_;
  at::Tensor target_;  // float [samples, 1 + n, D], as the loss sees it
  Pca pca_;            // of target_, patches only; made with the first picture
  ComponentColors colors_;
};

}  // namespace afterimage::trainer
