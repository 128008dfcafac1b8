// The mean loss of an epoch, and which epoch was the best.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

// Part of every checkpoint, so that a run that was stopped within an epoch ends it with the same mean. Not
// thread-safe.
class BestEpoch {
 public:
  // A step of the running epoch: the mean loss of `num_samples`.
  void Add(double loss, uint64_t num_samples) {
    sum_ += loss * static_cast<double>(num_samples);
    num_samples_ += num_samples;
  }
  // Ends the epoch whose last step is the one before `step` (steps done). Returns its mean loss, 0 without
  // samples; the next begins.
  double End(uint64_t step);

  // Ends an epoch that is judged by something else, of which less is better.
  void EndWith(uint64_t step, double cost);

  // Steps done at the end of the best epoch so far.
  std::optional<uint64_t> best_step() const { return best_step_; }

  // Exact: every value comes back to the bit.
  std::string Serialize() const;
  // InvalidArgument: not what Serialize gives.
  static absl::StatusOr<BestEpoch> Parse(absl::string_view text);

 private:
  double sum_ = 0;
  uint64_t num_samples_ = 0;
  std::optional<uint64_t> best_step_;
  double best_cost_ = 0;
};

}  // namespace afterimage::trainer
