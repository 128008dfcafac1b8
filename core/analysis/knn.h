// The weighted k-nearest-neighbour classifier that DINO evaluates frozen features with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace afterimage {

struct KnnOptions {
  uint32_t k = 20;
  double temperature = 0.07;   // of DINO (Caron et al. 2021, appendix F.1)
  uint32_t num_threads = 0;    // 0 = one per core
};

// The class of each row of `test`: the k rows of `train` with the highest cosine similarity s vote with weight
// exp(s / temperature); the class with the largest sum wins, the smaller number on a tie. Among equal similarities the earlier
// row is the nearer. `train` and `test` are rows of `width` floats, `train_labels` are in 0 .. num_classes - 1. The result does not
// depend on the number of threads. k above the number of training rows means all of them.
// InvalidArgument: sizes that do not fit, a label out of range (tells the row), no training rows, k or temperature not positive,
// a NaN or infinite value (tells the row). Cancelled: a stop was requested (core/base/stop_signal.h).
absl::StatusOr<std::vector<int32_t>> KnnClassify(std::span<const float> train, std::span<const int32_t> train_labels,
                                                 std::span<const float> test, uint32_t width, uint32_t num_classes,
                                                 const KnnOptions& options = {});

// KnnClassify for each of `ks`, from one search: result i is that with k = ks[i]; options.k is not looked at.
absl::StatusOr<std::vector<std::vector<int32_t>>> KnnClassifyForEach(
    std::span<const float> train, std::span<const int32_t> train_labels, std::span<const float> test, uint32_t width,
    uint32_t num_classes, std::span<const uint32_t> ks, const KnnOptions& options = {});

// For each of `ks` the fraction of `test` rows that KnnClassify gives their label. InvalidArgument also: no test rows.
absl::StatusOr<std::vector<double>> KnnAccuracies(std::span<const float> train, std::span<const int32_t> train_labels,
                                                  std::span<const float> test, std::span<const int32_t> test_labels,
                                                  uint32_t width, uint32_t num_classes, std::span<const uint32_t> ks,
                                                  const KnnOptions& options = {});

}  // namespace afterimage
