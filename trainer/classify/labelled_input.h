// Batches of labelled samples, for a run's training and for its evaluation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/image/image_source.h"
#include "core/order/stall.h"
#include "trainer/data/labelled_view_loader.h"
#include "trainer/evaluation/classification.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {

struct LabelledBatch {
  at::Tensor inputs;  // float: normalised views [B, S, S, 3] with their erasures, or features [B, D]
  at::Tensor labels;  // int64 [B]
  std::vector<size_t> indices;   // in the source
  std::vector<uint32_t> places;  // in the step's batch, of which this is all or a rank's part
  StallTimes waited;             // for what is made in the background, divided as its making was
};

// The samples that a run is trained on. One thread.
class LabelledInput {
 public:
  virtual ~LabelledInput() = default;

  virtual uint64_t steps_per_epoch() const = 0;
  // Where a resumed run goes on: the next batch is that of `step`. Before the first Next.
  virtual absl::Status Begin(uint64_t step) = 0;
  // The batch of the next step, or this rank's part of it, in memory of its own.
  virtual absl::StatusOr<LabelledBatch> Next() = 0;
  // For messages: the names of a batch's samples.
  virtual std::string NameOf(size_t index) const = 0;
};

// Maps inputs, as LabelledBatch has them, to logits.
using LogitsOfInputs = std::function<at::Tensor(const at::Tensor& inputs)>;
// Runs over the held-out samples, or this rank's part of them. Cancelled: a stop was requested.
using Evaluation = std::function<absl::StatusOr<ClassificationResult>(const LogitsOfInputs& logits)>;

// How uint8 pixels become a network's input.
struct PixelScaling {
  at::Tensor mean, deviation;  // [3], on the device of the network
};
absl::StatusOr<PixelScaling> ScalingOf(const PixelNorm& pixels, at::Device device);

// Views of pictures, augmented. `source` must outlive it. InvalidArgument: a picture without a label, fewer
// pictures than a batch, an impossible view.
absl::StatusOr<std::unique_ptr<LabelledInput>> OpenViewInput(const ImageSource* source,
                                                             const LabelledViewLoader::Options& options,
                                                             const PixelScaling& scaling);

// Rows of a table in memory, [N, D] with labels int64 [N]; each epoch a permutation by `seed`, the short rest
// left out.
std::unique_ptr<LabelledInput> MakeTableInput(const ImageSource* source, at::Tensor rows, at::Tensor labels,
                                              uint64_t batch_size, uint64_t seed);

// Over views of evaluation, those of this rank. `source` must outlive it.
Evaluation EvaluationOfViews(const ImageSource* source, uint32_t size, int64_t num_classes, int num_threads,
                             const PixelScaling& scaling, const RankSlice& slice);
Evaluation EvaluationOfTable(at::Tensor rows, at::Tensor labels, int64_t num_classes);

}  // namespace afterimage::trainer
