// How long steps take, and how much of that is waiting for input.
#pragma once

#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace afterimage::trainer {

// BeginStep, InputIsReady and EndStep in turn, step after step; the figures are of the steps that have ended.
// Those of the run leave the first step out: the feed starts with it. Not thread-safe.
class StepClock {
 public:
  explicit StepClock(uint64_t batch_size) : batch_size_(static_cast<double>(batch_size)) {}

  void BeginStep() { begin_ = absl::Now(); }
  void InputIsReady() { ready_ = absl::Now(); }
  void EndStep() {
    step_ = absl::ToDoubleSeconds(absl::Now() - begin_);
    step_wait_ = absl::ToDoubleSeconds(ready_ - begin_);
    if (num_steps_++ == 0) return;
    worked_ += step_;
    waited_ += step_wait_;
  }

  // Of the step under way, or the last one.
  absl::Duration input_wait() const { return ready_ - begin_; }
  double step_seconds() const { return step_; }
  double step_images_per_second() const { return batch_size_ / step_; }
  double step_wait_share() const { return step_wait_ / step_; }
  double images_per_second() const {
    return worked_ > 0 ? static_cast<double>(num_steps_ - 1) * batch_size_ / worked_ : 0;
  }
  double wait_share() const { return worked_ > 0 ? waited_ / worked_ : 0; }

 private:
  const double batch_size_;
  absl::Time begin_, ready_;
  double step_ = 0, step_wait_ = 0;  // seconds, of the last step
  double worked_ = 0, waited_ = 0;   // seconds, of all but the first
  uint64_t num_steps_ = 0;
};

}  // namespace afterimage::trainer
