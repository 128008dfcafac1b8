#include "trainer/optim/gradients.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <vector>

namespace afterimage::trainer {

double ClipGradients(const ParameterMap& parameters, double max_norm) {
  constexpr double kEpsilon = 1e-6;  // as torch.nn.utils.clip_grad_norm_
  c10::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const auto& [name, parameter] : parameters) {
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  }
  if (gradients.empty()) return 0.0;
  const double norm = at::stack(at::_foreach_norm(gradients, 2)).norm(2).item<double>();
  if (std::isfinite(norm) && norm > max_norm) at::_foreach_mul_(gradients, max_norm / (norm + kEpsilon));
  return norm;
}

void DropGradients(const ParameterMap& parameters) {
  for (const auto& [name, parameter] : parameters) at::Tensor(parameter).mutable_grad() = at::Tensor();
}

}  // namespace afterimage::trainer
