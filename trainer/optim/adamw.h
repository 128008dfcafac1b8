// The optimiser: AdamW with decoupled weight decay, groups chosen by name.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/vit/vit.h"
#include "trainer/optim/optimizer.h"

namespace afterimage::trainer {

// True for parameters that weight decay shrinks in pre-training: all matrices, the patch convolution and the
// class token; not 1-D parameters, biases and the alignment's mix (maskalign.md section 1.8).
bool IsDecayed(const std::string& name, const at::Tensor& parameter);

// How a parameter is updated.
struct ParameterGroup {
  bool decayed = true;
  double lr_scale = 1;  // of the learning rate, decay included

  auto operator<=>(const ParameterGroup&) const = default;
};

// AdamW over named parameters (maskalign.md section 6, 24). State: ".exp_avg", ".exp_avg_sq", ".step".
class AdamW : public Optimizer {
 public:
  struct Options {
    double beta1 = 0.9;
    double beta2 = 0.95;  // of masked pre-training; supervised training uses 0.999
    double epsilon = 1e-8;
    double weight_decay = 0.05;
    // Empty: IsDecayed, all at the same rate.
    std::function<ParameterGroup(const std::string& name, const at::Tensor& parameter)> group_of;
  };

  // Takes the leaves of `parameters` that require a gradient; the tensors are shared with the map.
  AdamW(const ParameterMap& parameters, const Options& options);

  void Step(double lr) override;
  ParameterMap State() const override;

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter;
    at::Tensor first_moment;
    at::Tensor second_moment;
    at::Tensor step;
  };
  void StepGroup(const ParameterGroup& group, std::vector<Slot>& slots, double lr) const;

  const Options options_;
  std::map<ParameterGroup, std::vector<Slot>> groups_;
};

}  // namespace afterimage::trainer
