// Principal components of token features.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace afterimage {

struct Pca {
  std::vector<double> mean;        // width
  std::vector<double> components;  // num_components x width, row by row, by descending variance; sign fixed: the largest
                                   // entry of each is positive
  std::vector<double> variances;   // num_components
};

// Streaming covariance, then Eigen's self-adjoint solver. Not thread-safe.
class PcaAccumulator {
 public:
  explicit PcaAccumulator(uint32_t width);
  // rows x width values.
  void Add(std::span<const float> rows);
  uint64_t num_rows() const { return num_rows_; }
  // FailedPrecondition with fewer than two rows.
  absl::StatusOr<Pca> Finish(uint32_t num_components) const;

 private:
  uint32_t width_;
  uint64_t num_rows_ = 0;
  std::vector<double> sum_;
  std::vector<double> outer_;  // upper triangle of sum of x x^T, shifted by the first row
  std::vector<double> shift_;
};

// Coordinates of rows x width values: rows x num_components.
std::vector<float> Project(const Pca& pca, std::span<const float> rows);

}  // namespace afterimage
