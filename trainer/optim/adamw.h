// The optimiser: AdamW with decoupled weight decay, groups chosen by name.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

// True for parameters that weight decay shrinks: all matrices, the patch convolution and the class token; not
// 1-D parameters, biases and the alignment's mix (maskalign.md section 1.8).
bool IsDecayed(const std::string& name, const at::Tensor& parameter);

// AdamW over named parameters, updated in place. A parameter without a gradient is left alone, decay included
// (maskalign.md section 6, 24). The state has names too, so that a checkpoint says what it holds. Not
// thread-safe.
class AdamW {
 public:
  struct Options {
    double beta1 = 0.9;
    double beta2 = 0.95;  // of masked pre-training; supervised training uses 0.999
    double epsilon = 1e-8;
    double weight_decay = 0.05;
  };

  // Takes the leaves of `parameters` that require a gradient; the tensors are shared with the map.
  AdamW(const ParameterMap& parameters, Options options);

  // One update from the gradients of the leaves, which are then dropped.
  void Step(double lr);

  // "<parameter>.exp_avg", "<parameter>.exp_avg_sq" and "<parameter>.step" of every parameter, sharing
  // memory.
  ParameterMap State() const;
  // InvalidArgument names what is missing, extra or of another shape; then nothing has changed.
  absl::Status LoadState(const ParameterMap& state);

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter;
    at::Tensor first_moment;
    at::Tensor second_moment;
    at::Tensor step;
    bool decayed = false;
  };
  void StepGroup(bool decayed, double lr);

  const Options options_;
  std::vector<Slot> slots_;
};

}  // namespace afterimage::trainer
