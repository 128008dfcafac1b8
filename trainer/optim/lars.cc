#include "trainer/optim/lars.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace afterimage::trainer {

Lars::Lars(const ParameterMap& parameters, const Options& options) : options_(options) {
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.requires_grad()) continue;
    slots_.push_back({name, parameter, at::zeros_like(parameter.detach())});
  }
}

void Lars::Step(double lr) {
  c10::NoGradGuard no_grad;
  for (Slot& slot : slots_) {
    if (!slot.parameter.grad().defined()) continue;
    at::Tensor update = slot.parameter.grad();
    if (slot.parameter.dim() > 1) {
      if (options_.weight_decay != 0) update = update.add(slot.parameter, options_.weight_decay);
      if (options_.trust_coefficient != 0) {
        const at::Tensor size = slot.parameter.norm(), change = update.norm();
        const at::Tensor trust = options_.trust_coefficient * size / change;
        update = update * at::where(size.gt(0).logical_and(change.gt(0)), trust, at::ones_like(trust));
      }
    }
    slot.momentum.mul_(options_.momentum).add_(update);
    slot.parameter.add_(slot.momentum, -lr);
    slot.parameter.mutable_grad() = at::Tensor();
  }
}

ParameterMap Lars::State() const {
  ParameterMap state;
  for (const Slot& slot : slots_) state[slot.name + ".momentum"] = slot.momentum;
  return state;
}

}  // namespace afterimage::trainer
