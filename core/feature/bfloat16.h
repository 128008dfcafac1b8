// bfloat16 and back: the upper half of a float32.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/host_device.h"

namespace afterimage {

namespace internal {
// Adds what carries into the upper half when the lower one is above the middle, or at it and the upper is
// odd. A NaN may come out as anything here.
AFTERIMAGE_HOST_DEVICE inline uint16_t RoundToBfloat16(uint32_t bits) {
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
}  // namespace internal

// Exact.
AFTERIMAGE_HOST_DEVICE inline float Bfloat16ToFloat(uint16_t value) {
  return std::bit_cast<float>(uint32_t{value} << 16);
}
// Round to nearest, ties to even; beyond the largest after rounding: infinity. NaNs are made quiet.
AFTERIMAGE_HOST_DEVICE inline uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return internal::RoundToBfloat16(bits);
}

// `source` holds target.size() little-endian bfloat16, at any alignment.
void DecodeBfloat16s(const uint8_t* source, std::span<float> target);
// Writes source.size() bfloat16. The index of the first value that is not finite or rounds beyond the range,
// or source.size() if there is none; what is written is unspecified then.
size_t EncodeBfloat16s(std::span<const float> source, uint8_t* target);

}  // namespace afterimage
