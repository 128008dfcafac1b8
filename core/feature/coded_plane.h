// A plane of a codec with exceptions, as i8x and i4x make it. Private to core/feature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace afterimage {

struct PlaneException {
  uint32_t position = 0;  // row * width + channel
  float value = 0;

  bool operator==(const PlaneException&) const = default;
};

struct CodedPlane {
  bool is_f16 = false;                     // too many exceptions: the values as IEEE binary16
  std::vector<uint8_t> bytes;              // rows
  std::vector<PlaneException> exceptions;  // ascending by position; at most one in kValuesPerException values
};
inline constexpr size_t kValuesPerException = 50;  // 2 %

namespace internal {
// The values rounded to f16 and back.
std::vector<float> RoundToHalves(std::span<const float> values, std::vector<uint8_t>& halves);
}  // namespace internal

// `encode_rows(values, plane)` fills bytes and exceptions in; false: there are too many exceptions. Then the
// plane is rounded to f16, and stays so if it has too many even then. (Else the next to encode it, who sees
// the rounded values, might find fewer, and write other bytes.)
template <typename EncodeRows>
CodedPlane EncodeWithExceptions(std::span<const float> values, EncodeRows encode_rows) {
  CodedPlane plane;
  if (encode_rows(values, plane)) return plane;
  std::vector<uint8_t> halves;
  const std::vector<float> rounded = internal::RoundToHalves(values, halves);
  if (encode_rows(std::span<const float>(rounded), plane)) return plane;
  return {.is_f16 = true, .bytes = std::move(halves), .exceptions = {}};
}

}  // namespace afterimage
