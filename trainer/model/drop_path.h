// Stochastic depth, drawn by counter: no generator state to save.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace afterimage::trainer {

// Factors [depth, 2, batch] (0 or 1 / keep) for VitForwardOptions::drop_path, or undefined for a rate of 0.
// Block i drops at linspace(0, rate, depth)[i], per sample and branch (maskalign.md section 1.1). A pure
// function of (seed, step).
at::Tensor DropPathFactors(double rate, int64_t depth, int64_t batch, uint64_t seed, uint64_t step);

// The same factors from draws that were made elsewhere: `keep` [depth, 2, batch], 1 where a branch survives.
at::Tensor DropPathFactorsOfDraws(double rate, const at::Tensor& keep);

}  // namespace afterimage::trainer
