// The safetensors file format: reading with checks, and writing. Knows no LibTorch.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/base/digest.h"

namespace afterimage {

enum class TensorType : uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kU8, kI8, kI16, kBool };
size_t TensorTypeBytes(TensorType type);
const char* TensorTypeName(TensorType type);  // "F32", …: as in the file

struct TensorView {
  TensorType type = TensorType::kF32;
  std::vector<int64_t> shape;
  ByteSpan data;  // little-endian, row-major; lives as long as the file object
};

// The tensors of one memory-mapped file, or of the shards that a checkpoint is split into. Immutable,
// thread-safe.
class SafetensorsFile {
 public:
  // NotFound; DataLoss naming the file and what does not fit (header length, ranges that overlap or leave the
  // file, sizes that do not match the shape, names that occur twice), checked before anything is allocated.
  // InvalidArgument: a file of PyTorch's own. Unimplemented: an unknown dtype.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);

  // As Open, and more: `path` may also be the index of a sharded checkpoint (`*.safetensors.index.json`), or
  // a folder that holds one checkpoint: one index, or else one .safetensors file. The tensors of all shards
  // appear as those of one file, with the digest that one file of them would have. InvalidArgument: a folder
  // with none or several (listed). NotFound: a shard that is not there (all of them named). DataLoss: an
  // index that is no index, a shard outside the index's folder, a tensor that is not in the shard which the
  // index names, or that the index does not name.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> OpenCheckpoint(const std::string& path);

  // The content of a file: what Open reads after mapping it. `path` is for messages.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Parse(PinnedBytes content,
                                                                      const std::string& path);

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return path_; }  // of the file, or of the index

  // SHA-256 over (name, dtype, shape, bytes) of the tensors in name order: the teacher digest. Metadata is
  // not in it. `exclude_prefixes`: tensors that are no weights (golden files carry "input.", "output.",
  // "grad.").
  Digest256 ContentDigest(const std::vector<std::string>& exclude_prefixes = {}) const;

 private:
  SafetensorsFile() = default;
  std::string path_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::shared_ptr<const void>> owners_;  // of the bytes that the views show
};

// Writes aside, syncs, renames. Data pointers must stay valid during the call.
absl::Status WriteSafetensors(const std::string& path, const std::map<std::string, TensorView>& tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace afterimage
