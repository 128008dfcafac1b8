// What reader and writer of safetensors share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"

namespace afterimage::safetensors {

// A file: the length of the header (u64), the header (JSON), the bytes of the tensors.
inline constexpr size_t kLengthBytes = 8;
// The format's own bound on the JSON header.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr char kMetadataKey[] = "__metadata__";

// Unimplemented: a dtype that we do not know.
absl::StatusOr<TensorType> ParseType(const std::string& name);

// Bytes of a tensor of this shape, or nothing where that overflows or an extent is negative.
std::optional<uint64_t> ByteCount(const std::vector<int64_t>& shape, TensorType type);

std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace afterimage::safetensors
