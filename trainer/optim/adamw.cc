#include "trainer/optim/adamw.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/match.h"
#include "trainer/model/alignment.h"

namespace afterimage::trainer {

bool IsDecayed(const std::string& name, const at::Tensor& parameter) {
  return parameter.dim() > 1 && !absl::EndsWith(name, ".bias") && !IsMix(name);
}

AdamW::AdamW(const ParameterMap& parameters, const Options& options) : options_(options) {
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.requires_grad()) continue;
    const at::Tensor data = parameter.detach();
    const ParameterGroup group =
        options_.group_of ? options_.group_of(name, data) : ParameterGroup{IsDecayed(name, data)};
    groups_[group].push_back({name, parameter, at::zeros_like(data), at::zeros_like(data),
                              at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(data.device()))});
  }
}

void AdamW::Step(double lr) {
  c10::NoGradGuard no_grad;
  for (auto& [group, slots] : groups_) StepGroup(group, slots, lr);
}

void AdamW::StepGroup(const ParameterGroup& group, std::vector<Slot>& slots, double lr) const {
  std::vector<at::Tensor> parameters, gradients, first_moments, second_moments, steps;
  for (Slot& slot : slots) {
    if (!slot.parameter.grad().defined()) continue;
    slot.step.add_(1);
    parameters.push_back(slot.parameter);
    gradients.push_back(slot.parameter.grad());
    first_moments.push_back(slot.first_moment);
    second_moments.push_back(slot.second_moment);
    steps.push_back(slot.step);
    slot.parameter.mutable_grad() = at::Tensor();
  }
  if (parameters.empty()) return;
  at::_fused_adamw_(parameters, gradients, first_moments, second_moments, /*max_exp_avg_sqs=*/{}, steps,
                    lr * group.lr_scale, options_.beta1, options_.beta2,
                    group.decayed ? options_.weight_decay : 0.0, options_.epsilon,
                    /*amsgrad=*/false,
                    /*maximize=*/false);
}

ParameterMap AdamW::State() const {
  ParameterMap state;
  for (const auto& [group, slots] : groups_) {
    for (const Slot& slot : slots) {
      state[slot.name + ".exp_avg"] = slot.first_moment;
      state[slot.name + ".exp_avg_sq"] = slot.second_moment;
      state[slot.name + ".step"] = slot.step;
    }
  }
  return state;
}

}  // namespace afterimage::trainer
