// Fresh parameters for a vision transformer.
#pragma once

#include <cstdint>

#include "core/vit/vit.h"

namespace afterimage::trainer {

// Random numbers for initial values: one sequence per (seed, name), so that a parameter's start does not
// depend on which other parameters there are.
at::Generator InitialGenerator(uint64_t seed, const std::string& name);

// Xavier-uniform for a matrix [out, in], in place.
void XavierUniform(at::Tensor& matrix, at::Generator generator);

// All that `config` demands, float32, as maskalign.md section 1.1 says: Xavier-uniform matrices, the patch
// convolution on its (D, 3 p p) view, zero biases but the patch bias at U(-1/sqrt(3 p p), 1/sqrt(3 p p)),
// LayerNorms 1 and 0, class token N(0, 0.02), sin-cos positions.
ParameterMap NewVit(const VitConfig& config, uint64_t seed);

// The ViT sizes that have a name: "vit_tiny", "vit_small", "vit_base", "vit_large", "vit_huge". False for another one.
bool NamedVit(const std::string& name, VitConfig& config);

}  // namespace afterimage::trainer
