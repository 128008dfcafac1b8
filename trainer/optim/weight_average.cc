#include "trainer/optim/weight_average.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <vector>

namespace afterimage::trainer {

WeightAverage::WeightAverage(const ParameterMap& parameters, double decay) : decay_(decay) {
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.requires_grad()) continue;
    parameters_[name] = parameter;
    average_[name] = parameter.detach().clone();
  }
}

void WeightAverage::Update() {
  c10::NoGradGuard no_grad;
  std::vector<at::Tensor> average, parameters;
  for (const auto& [name, parameter] : parameters_) {
    average.push_back(average_.at(name));
    parameters.push_back(parameter);
  }
  at::_foreach_lerp_(average, parameters, 1.0 - decay_);
}

}  // namespace afterimage::trainer
