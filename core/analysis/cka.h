// Similarity of two representations of the same things.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace afterimage {

// Linear centred kernel alignment (Kornblith et al., Similarity of Neural Network Representations Revisited,
// ICML 2019, section 3): |Y^T X|^2 / (|X^T X| |Y^T Y|) in Frobenius norms, of centred columns. 1: equal up to
// a rotation and one scale; widths may differ. Not thread-safe. Memory: (a + b)^2 doubles.
class CkaAccumulator {
 public:
  CkaAccumulator(uint32_t width_a, uint32_t width_b);
  // The same number of rows of both, row by row.
  void Add(std::span<const float> rows_a, std::span<const float> rows_b);
  uint64_t num_rows() const { return num_rows_; }
  // 0 where one side does not vary, or with fewer than two rows.
  double Value() const;

 private:
  const uint32_t width_a_;
  const uint32_t width_b_;
  uint64_t num_rows_ = 0;
  std::vector<double>
      shift_;  // the first row of both, side by side: sums are taken from it, so that they do not cancel
  std::vector<double> sum_;
  std::vector<double> outer_;  // (a + b) x (a + b)
};

}  // namespace afterimage
