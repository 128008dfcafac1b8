#include "core/tensors/safetensors_format.h"

#include <algorithm>
#include <array>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"

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

using nlohmann::json;

absl::StatusOr<TensorType> ParseType(const std::string& name) {
  for (const TypeEntry& entry : kTypes) {
    if (name == entry.name) return entry.type;
  }
  return absl::UnimplementedError(absl::StrCat("dtype ", name, " is not supported"));
}

std::optional<uint64_t> ByteCount(const std::vector<int64_t>& shape, TensorType type) {
  uint64_t count = TensorTypeBytes(type);
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    empty = empty || extent == 0;
    const auto factor = std::max<uint64_t>(1, static_cast<uint64_t>(extent));
    if (__builtin_mul_overflow(count, factor, &count)) return std::nullopt;
  }
  return empty ? 0 : count;
}

absl::StatusOr<json> ParseObject(absl::string_view text, int max_depth) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  bool too_deep = false;
  const json::parser_callback_t callback = [&](int depth, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      if (depth >= max_depth) {
        too_deep = true;
        return false;
      }
      if (event == json::parse_event_t::object_start) {
        keys.resize(std::max(keys.size(), static_cast<size_t>(depth) + 2));
        keys[static_cast<size_t>(depth) + 1].clear();
      }
    } else if (event == json::parse_event_t::key && static_cast<size_t>(depth) < keys.size()) {
      // A key's depth is one more than its object's.
      const auto& name = parsed.get_ref<const std::string&>();
      if (!keys[static_cast<size_t>(depth)].insert(name).second && duplicate.empty()) duplicate = name;
    }
    return true;
  };
  json object = json::parse(text.begin(), text.end(), callback, /*allow_exceptions=*/false);
  if (too_deep) return absl::DataLossError("nested too deeply");
  if (object.is_discarded()) return absl::DataLossError("not valid JSON");
  if (!object.is_object()) return absl::DataLossError("not a JSON object");
  if (!duplicate.empty())
    return absl::DataLossError(absl::StrCat("the name \"", duplicate, "\" occurs twice"));
  return object;
}

absl::StatusOr<std::map<std::string, std::string>> ParseIndex(absl::string_view text) {
  // {"metadata": {…}, "weight_map": {tensor: shard}}
  constexpr int kMaxIndexDepth = 4;
  AFTERIMAGE_ASSIGN_OR_RETURN(const json index, ParseObject(text, kMaxIndexDepth));
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    return absl::DataLossError("no weight_map from tensors to shards");
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string()) return absl::DataLossError(absl::StrCat("tensor \"", name, "\" names no shard"));
    const auto& file = shard.get_ref<const std::string&>();
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos) {
      return absl::DataLossError(absl::StrCat("tensor \"", name, "\" is in \"", absl::CHexEscape(file),
                                              "\", which is not a file beside the index"));
    }
    shards[name] = file;
  }
  return shards;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace safetensors
}  // namespace afterimage
