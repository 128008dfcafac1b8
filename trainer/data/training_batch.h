// One step's input, in memory that is used again and again.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/identity/image_key.h"
#include "core/order/running_digest.h"

namespace afterimage::trainer {

// Shapes of a batch: G samples, n visible patches of p x p pixels, L levels of width D.
struct BatchShape {
  int64_t batch = 0;
  int64_t num_visible = 0;  // where epochs differ: the most of any
  int64_t patch_size = 0;
  int64_t width = 0;
  std::vector<uint32_t> levels;  // ascending
  bool with_statistics = false;  // mean and inverse deviation of each token too
  bool pinned = false;           // page-locked, for fast copies to a GPU
};

// Rows [0, size) hold the samples of weight one, in order; FAILED, skipped and padding ones have no row, so
// that means over the rows divide by the number of samples with weight one.
struct TrainingBatch {
  uint64_t epoch = 0;
  uint64_t step = 0;  // of the epoch
  int64_t size = 0;
  at::Tensor pixels;                          // uint8 [G, n, p p 3], patch-major as records hold them
  at::Tensor visible;                         // int64 [G, n]
  std::vector<at::Tensor> targets;            // per level float [G, 1 + n, D], whitened
  std::vector<at::Tensor> mean;               // per level [G, 1 + n], with statistics
  std::vector<at::Tensor> inverse_deviation;  // per level [G, 1 + n], with statistics
  std::vector<RecordKey> keys;                // of the rows
  StepSum sum;                                // for the running digest: of all samples, whatever their weight
  uint64_t num_failed = 0;                    // pictures that cannot be decoded
  uint64_t num_skipped = 0;                   // MISSING and DAMAGED records that were passed over
  uint64_t bytes = 0;                         // of feature blocks

  static TrainingBatch Allocate(const BatchShape& shape);
  // Makes it one of `num_visible` patches, at most as many as it was allocated for; what it held is gone.
  void SetNumVisible(int64_t num_visible);
};

}  // namespace afterimage::trainer
