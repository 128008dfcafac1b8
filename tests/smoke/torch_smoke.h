// What the smoke test asks of LibTorch, without a torch header in sight.
#pragma once

namespace afterimage {

// The sum of the gradient of sum((a b)^2) with respect to a, where a and b are n x n matrices of ones: 2 n^4.
double SumOfTorchGradient(int n);

}  // namespace afterimage
