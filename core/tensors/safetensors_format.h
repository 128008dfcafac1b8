// What reader and writer of safetensors share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/tensors/safetensors.h"

namespace afterimage::safetensors {

// A file: the length of the header (u64), the header (JSON), the bytes of the tensors.
inline constexpr size_t kLengthBytes = 8;
// The format's own bound on the JSON header.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr char kMetadataKey[] = "__metadata__";

// Unimplemented: a dtype that we do not know.
absl::StatusOr<TensorType> ParseType(const std::string& name);

// Bytes of a tensor of this shape, or nothing where that overflows (also with a zero among the extents: the
// strides of such a tensor would) or an extent is negative.
std::optional<uint64_t> ByteCount(const std::vector<int64_t>& shape, TensorType type);

// A JSON object nested at most `max_depth` deep. DataLoss: anything else, and what a JSON library would pass
// over: a name that occurs twice.
absl::StatusOr<nlohmann::json> ParseObject(absl::string_view text, int max_depth);

// The index of a sharded checkpoint: tensor -> file name of its shard. DataLoss: no index, or a shard that is
// not the plain name of a file in the index's folder.
absl::StatusOr<std::map<std::string, std::string>> ParseIndex(absl::string_view text);

std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace afterimage::safetensors
