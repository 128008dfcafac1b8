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

// A memory-mapped file. Immutable, thread-safe.
class SafetensorsFile {
 public:
  // NotFound; DataLoss naming the file and what does not fit (header length, ranges that overlap or leave the
  // file, sizes that do not match the shape, names that occur twice), checked before anything is allocated.
  // Unimplemented: an unknown dtype.
  static absl::StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);

  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return path_; }

  // SHA-256 over (name, dtype, shape, bytes) of the tensors in name order: the teacher digest. Metadata is
  // not in it. `exclude_prefixes`: tensors that are no weights (golden files carry "input.", "output.",
  // "grad.").
  Digest256 ContentDigest(const std::vector<std::string>& exclude_prefixes = {}) const;

  ~SafetensorsFile();

 private:
  SafetensorsFile() = default;
  std::string path_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
  void* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
};

// Writes aside, syncs, renames. Data pointers must stay valid during the call.
absl::Status WriteSafetensors(const std::string& path, const std::map<std::string, TensorView>& tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace afterimage
