#include "tests/smoke/torch_smoke.h"

#include <ATen/ATen.h>

namespace afterimage {

double SumOfTorchGradient(int n) {
  at::Tensor a = at::ones({n, n}).requires_grad_();
  const at::Tensor b = at::ones({n, n});
  at::matmul(a, b).square().sum().backward();
  return a.grad().sum().item<double>();
}

}  // namespace afterimage
