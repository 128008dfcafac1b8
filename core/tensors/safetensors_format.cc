#include "core/tensors/safetensors_format.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace afterimage {
namespace {

struct TypeEntry {
  TensorType type;
  const char* name;
  size_t bytes;
};
constexpr std::array<TypeEntry, 10> kTypes = {{
    {TensorType::kF64, "F64", 8},
    {TensorType::kF32, "F32", 4},
    {TensorType::kF16, "F16", 2},
    {TensorType::kBF16, "BF16", 2},
    {TensorType::kI64, "I64", 8},
    {TensorType::kI32, "I32", 4},
    {TensorType::kU8, "U8", 1},
    {TensorType::kI8, "I8", 1},
    {TensorType::kI16, "I16", 2},
    {TensorType::kBool, "BOOL", 1},
}};

const TypeEntry& Entry(TensorType type) {
  for (const TypeEntry& entry : kTypes) {
    if (entry.type == type) return entry;
  }
  return kTypes[1];  // not reached: the table holds every type
}

}  // namespace

size_t TensorTypeBytes(TensorType type) { return Entry(type).bytes; }
const char* TensorTypeName(TensorType type) { return Entry(type).name; }

namespace safetensors {

absl::StatusOr<TensorType> ParseType(const std::string& name) {
  for (const TypeEntry& entry : kTypes) {
    if (name == entry.name) return entry.type;
  }
  return absl::UnimplementedError(absl::StrCat("dtype ", name, " is not supported"));
}

std::optional<uint64_t> ByteCount(const std::vector<int64_t>& shape, TensorType type) {
  uint64_t count = TensorTypeBytes(type);
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, static_cast<uint64_t>(extent), &count))
      return std::nullopt;
  }
  return count;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace safetensors
}  // namespace afterimage
