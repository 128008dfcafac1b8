// One step's input, in memory that is used again and again.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/feature/coded_batch.h"
#include "core/identity/image_key.h"
#include "core/order/running_digest.h"

namespace afterimage::trainer {

// What one teacher gives: its levels, D values wide.
struct TargetShape {
  int64_t width = 0;
  std::vector<uint32_t> levels;  // ascending
};

// Shapes of a batch: G samples (of one rank), n visible patches of p x p pixels, the levels of one teacher or
// of several.
struct BatchShape {
  int64_t batch = 0;
  int64_t num_visible = 0;  // where epochs differ: the most of any
  int64_t patch_size = 0;
  std::vector<TargetShape> teachers;
  bool with_statistics = false;  // mean and inverse deviation of each token too
  bool pinned = false;           // page-locked, for fast copies to a GPU
  bool coded = false;            // targets as records have them, to be decoded on a device (target_decoder.h)
};

// Rows [0, size) hold the samples of weight one, in order; FAILED, skipped and padding ones have no row, so
// that means over the rows divide by the number of samples with weight one.
struct TrainingBatch {
  uint64_t epoch = 0;
  uint64_t step = 0;  // of the epoch
  int64_t size = 0;
  at::Tensor pixels;   // uint8 [G, n, p p 3], patch-major as records hold them
  at::Tensor visible;  // int64 [G, n]
  // Of the levels of the first teacher, then of the next:
  std::vector<at::Tensor> targets;            // float [G, 1 + n, D], whitened; coded: made by TargetDecoder
  std::vector<at::Tensor> mean;               // [G, 1 + n], with statistics
  std::vector<at::Tensor> inverse_deviation;  // [G, 1 + n], with statistics
  std::vector<RecordKey> keys;                // of the rows
  std::vector<uint32_t> slots;                // of the rows: their places in the step's batch over all ranks
  StepSum sum;                                // for the running digest: of all samples, whatever their weight
  uint64_t num_failed = 0;                    // pictures that cannot be decoded
  uint64_t num_skipped = 0;                   // MISSING and DAMAGED records that were passed over
  uint64_t num_computed = 0;                  // of the rows: those that the cache lacks
  uint64_t bytes = 0;                         // of feature blocks, of all sets

  // Where the shape is coded, for each target: its rows, in memory of their own.
  struct CodedTarget {
    at::Tensor memory;  // uint8
    CodedBatch rows;
    int64_t num_bytes = 0;  // of the memory, once sealed
  };
  std::vector<CodedTarget> coded;

  static TrainingBatch Allocate(const BatchShape& shape);
  // Completes the coded rows of its samples, once they are all there.
  void Seal();
  // Makes it one of `num_visible` patches, at most as many as it was allocated for; what it held is gone.
  void SetNumVisible(int64_t num_visible);
};

}  // namespace afterimage::trainer
