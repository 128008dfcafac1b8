// Stochastic depth, drawn by counter: no generator state to save.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace afterimage::trainer {

// Factors [depth, 2, batch] (0 or 1 / keep) for VitForwardOptions::drop_path, or undefined for a rate of 0.
// Block i drops at linspace(0, rate, depth)[i], per sample and branch (maskalign.md section 1.1). Each is a
// pure function of (seed, step, sample), where `samples` are the batch's places in the whole step's batch: so
// ranks and parts of a batch drop what the whole batch would.
at::Tensor DropPathFactors(double rate, int64_t depth, std::span<const uint32_t> samples, uint64_t seed,
                           uint64_t step);
// Of samples 0 to batch - 1.
at::Tensor DropPathFactors(double rate, int64_t depth, int64_t batch, uint64_t seed, uint64_t step);

// The same factors from draws that were made elsewhere: `keep` [depth, 2, batch], 1 where a branch survives.
at::Tensor DropPathFactorsOfDraws(double rate, const at::Tensor& keep);

}  // namespace afterimage::trainer
