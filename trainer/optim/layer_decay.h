// Learning rates that fall from the head to the first layer of a vision transformer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "trainer/optim/adamw.h"

namespace afterimage::trainer {

// BEiT's and MAE's layer ids: 0 for the patch embedding, class token, positions (and registers, and a
// LayerNorm before block 1); i + 1 for block i (from 0); depth + 1 for all behind the blocks.
int64_t LayerId(const std::string& name, int64_t depth);

// Fine-tuning's group of a parameter: the rate times decay^(depth + 1 - layer id), which also scales the
// schedule's least rate; no weight decay of 1-D parameters, positions, class token and registers
// (maskalign.md section 1.9).
ParameterGroup LayerDecayGroup(const std::string& name, const at::Tensor& parameter, double decay,
                               int64_t depth);

}  // namespace afterimage::trainer
