#include "trainer/optim/adamw.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace afterimage::trainer {

bool IsDecayed(const std::string& name, const at::Tensor& parameter) {
  return parameter.dim() > 1 && !absl::EndsWith(name, ".bias") && name != "align.mix";
}

AdamW::AdamW(const ParameterMap& parameters, Options options) : options_(options) {
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.requires_grad()) continue;
    const at::Tensor data = parameter.detach();
    slots_.push_back({name, parameter, at::zeros_like(data), at::zeros_like(data),
                      at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(data.device())),
                      IsDecayed(name, data)});
  }
}

void AdamW::Step(double lr) {
  c10::NoGradGuard no_grad;
  StepGroup(/*decayed=*/true, lr);
  StepGroup(/*decayed=*/false, lr);
}

void AdamW::StepGroup(bool decayed, double lr) {
  std::vector<at::Tensor> parameters, gradients, first_moments, second_moments, steps;
  for (Slot& slot : slots_) {
    if (slot.decayed != decayed || !slot.parameter.grad().defined()) continue;
    slot.step.add_(1);
    parameters.push_back(slot.parameter);
    gradients.push_back(slot.parameter.grad());
    first_moments.push_back(slot.first_moment);
    second_moments.push_back(slot.second_moment);
    steps.push_back(slot.step);
    slot.parameter.mutable_grad() = at::Tensor();
  }
  if (parameters.empty()) return;
  at::_fused_adamw_(parameters, gradients, first_moments, second_moments, /*max_exp_avg_sqs=*/{}, steps, lr,
                    options_.beta1, options_.beta2, decayed ? options_.weight_decay : 0.0, options_.epsilon,
                    /*amsgrad=*/false,
                    /*maximize=*/false);
}

ParameterMap AdamW::State() const {
  ParameterMap state;
  for (const Slot& slot : slots_) {
    state[slot.name + ".exp_avg"] = slot.first_moment;
    state[slot.name + ".exp_avg_sq"] = slot.second_moment;
    state[slot.name + ".step"] = slot.step;
  }
  return state;
}

absl::Status AdamW::LoadState(const ParameterMap& state) {
  const ParameterMap mine = State();
  for (const auto& [name, tensor] : mine) {
    const auto found = state.find(name);
    if (found == state.end()) return absl::InvalidArgumentError(absl::StrCat("optimiser state lacks ", name));
    if (found->second.sizes() != tensor.sizes()) {
      return absl::InvalidArgumentError(absl::StrCat("optimiser state ", name, " has ", found->second.numel(),
                                                     " values, not ", tensor.numel()));
    }
  }
  for (const auto& [name, unused] : state) {
    if (!mine.contains(name))
      return absl::InvalidArgumentError(absl::StrCat("optimiser state has an extra ", name));
  }
  c10::NoGradGuard no_grad;
  for (const auto& [name, tensor] : mine) at::Tensor(tensor).copy_(state.at(name));
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
