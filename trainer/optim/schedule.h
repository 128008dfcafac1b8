// The learning rate over a run.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

// Linear warm-up from exactly 0, then a half cosine down to `min_lr` (maskalign.md section 1.8). The unit of
// the three positions is the caller's: epochs, or a fraction of the run.
struct WarmupCosine {
  double lr = 0;
  double min_lr = 0;  // absolute: not scaled with the batch
  double warmup = 0;  // position at which the warm-up ends
  double total = 1;   // position at which the run ends; beyond it the rate stays at min_lr

  double At(double position) const;
};

// A value that goes in equal steps from `first` in the first epoch to `last` in the last one.
struct LinearRange {
  double first = 0;
  double last = 0;

  LinearRange(double constant) : first(constant), last(constant) {}  // NOLINT: a number is a range
  LinearRange(double first, double last) : first(first), last(last) {}
  bool operator==(const LinearRange&) const = default;

  bool is_constant() const { return first == last; }
  // Exactly `first` at epoch 0 and `last` from epoch num_epochs - 1 on.
  double At(uint64_t epoch, uint64_t num_epochs) const;
  std::string Text() const;  // "0.7", "0.5:0.75"
};
// "0.7" or "0.5:0.75". InvalidArgument: no such thing, or a value outside [low, high].
absl::StatusOr<LinearRange> ParseLinearRange(absl::string_view text, double low, double high);

}  // namespace afterimage::trainer
