// Between safetensors files and LibTorch's tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"
#include "core/vit/vit.h"

namespace afterimage {

// A copy on the CPU, in `dtype`, or in the file's own type where none is given. fp16 and bf16 become float or
// double exactly.
at::Tensor ToTensor(const TensorView& view, std::optional<at::ScalarType> dtype = std::nullopt);

// Copies the values into `target`, of the same number of elements, converting to its type in the same pass;
// the file's bytes need not be aligned.
void CopyValues(const TensorView& view, at::Tensor target);

// All tensors of a file. Errors as SafetensorsFile::Open; ResourceExhausted: no memory.
absl::StatusOr<ParameterMap> LoadTensors(const std::string& path,
                                         std::optional<at::ScalarType> dtype = std::nullopt);

// Written aside, synced, renamed; each tensor in its own type, from whatever device. InvalidArgument: a type
// that the format does not have.
absl::Status SaveTensors(const std::string& path, const ParameterMap& tensors,
                         const std::map<std::string, std::string>& metadata = {});

}  // namespace afterimage
