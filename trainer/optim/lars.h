// LARS, and SGD with momentum: the optimisers of linear probes.
#pragma once

#include <string>
#include <vector>

#include "core/vit/vit.h"
#include "trainer/optim/optimizer.h"

namespace afterimage::trainer {

// You et al. 2017 as MAE's linear probe has it (maskalign.md section 1.10). For a parameter p with gradient
// g: g <- g + weight_decay p, and times trust_coefficient |p| / |g|, where both norms are above 0 (neither
// for 1-D parameters); m <- momentum m + g; p <- p - lr m. State: ".momentum".
class Lars : public Optimizer {
 public:
  struct Options {
    double momentum = 0.9;
    double weight_decay = 0;
    double trust_coefficient = 0.001;  // 0 = no scaling: SGD with momentum
  };

  // Takes the leaves of `parameters` that require a gradient; the tensors are shared with the map.
  Lars(const ParameterMap& parameters, const Options& options);

  void Step(double lr) override;
  ParameterMap State() const override;

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter;
    at::Tensor momentum;
  };
  const Options options_;
  std::vector<Slot> slots_;
};

}  // namespace afterimage::trainer
