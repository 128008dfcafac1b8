// Reads a pair of tests/golden: NAME.json and NAME.safetensors.
#pragma once

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/base/files.h"

namespace afterimage::testing {

// For tests only, of files that we made ourselves: anything unexpected throws.
class GoldenFile {
 public:
  // `source_dir`: AFTERIMAGE_SOURCE_DIR.
  GoldenFile(const std::string& source_dir, const std::string& name)
      : description_(nlohmann::json::parse(Read(source_dir + "/tests/golden/" + name + ".json"))),
        content_(Read(source_dir + "/tests/golden/" + name + ".safetensors")) {
    // The format: length of the header as a little-endian u64, the header as JSON, the tensors' bytes.
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, content_.data(), sizeof(header_bytes));
    data_offset_ = sizeof(header_bytes) + header_bytes;
    header_ = nlohmann::json::parse(content_.substr(sizeof(header_bytes), header_bytes));
  }

  const nlohmann::json& description() const { return description_; }

  // The values of a tensor, row by row. T must be as wide as the tensor's dtype.
  template <typename T>
  std::vector<T> Tensor(const std::string& name) const {
    const nlohmann::json& entry = header_.at(name);
    const size_t begin = entry.at("data_offsets").at(0), end = entry.at("data_offsets").at(1);
    size_t num_values = 1;
    for (const size_t side : entry.at("shape")) num_values *= side;
    if (end - begin != num_values * sizeof(T)) throw std::runtime_error(name + " has another dtype");
    std::vector<T> values(num_values);
    std::memcpy(values.data(), content_.data() + data_offset_ + begin, end - begin);
    return values;
  }

 private:
  static std::string Read(const std::string& path) { return ReadFile(path).value(); }

  nlohmann::json description_;
  std::string content_;
  nlohmann::json header_;
  size_t data_offset_ = 0;
};

}  // namespace afterimage::testing
