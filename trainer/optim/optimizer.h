// What a training loop asks of an optimiser.
#pragma once

#include "absl/status/status.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

// Over named parameters, updated in place. The state has names too, so that a checkpoint says what it holds.
// Not thread-safe.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // One update from the gradients of the leaves, which are then dropped. A parameter without a gradient is
  // left alone, decay included.
  virtual void Step(double lr) = 0;

  // "<parameter>.<what>" of every parameter, sharing memory.
  virtual ParameterMap State() const = 0;

  // InvalidArgument names what is missing, extra or of another shape; then nothing has changed.
  absl::Status LoadState(const ParameterMap& state);
};

}  // namespace afterimage::trainer
