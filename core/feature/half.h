// IEEE binary16 and back, the same bits with and without F16C, and on a GPU.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/host_device.h"

namespace afterimage {

inline constexpr uint16_t kHalfExponent = 0x7c00;

// Exact. NaNs are made quiet, as the hardware does.
AFTERIMAGE_HOST_DEVICE inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = uint32_t{half} >> 15 << 31;
  const uint32_t exponent = (half & kHalfExponent) >> 10;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  if (exponent == 31) {
    const uint32_t quiet = mantissa == 0 ? 0 : uint32_t{1} << 22;
    return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13 | quiet);
  }
  return std::bit_cast<float>(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}

// Round to nearest, ties to even; beyond 65504 after rounding: infinity.
AFTERIMAGE_HOST_DEVICE inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000)
    return static_cast<uint16_t>(sign | kHalfExponent | 0x200 | (magnitude >> 13 & 0x3ff));
  if (magnitude >= 0x477ff000) return sign | kHalfExponent;  // 65520 and above: halfway to 2^16
  if (magnitude >= 0x38800000) {                             // 2^-14 and above: normal
    const uint32_t rebased = magnitude - ((127 - 15) << 23);
    return static_cast<uint16_t>(sign | (rebased + 0xfff + (rebased >> 13 & 1)) >> 13);
  }
  if (magnitude < 0x33000000) return sign;  // below 2^-25: rounds to zero
  // Subnormal: the mantissa with its leading one, shifted so that the unit is 2^-24.
  const uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
  const uint32_t shift = 126 - (magnitude >> 23);
  const uint32_t half_unit = uint32_t{1} << (shift - 1);
  return static_cast<uint16_t>(sign | (mantissa + half_unit - 1 + (mantissa >> shift & 1)) >> shift);
}

// `source` holds target.size() little-endian halves, at any alignment.
void DecodeHalves(const uint8_t* source, std::span<float> target);
// Writes source.size() halves. The index of the first value that is not finite or rounds beyond the range, or
// source.size() if there is none; what is written is unspecified then.
size_t EncodeHalves(std::span<const float> source, uint8_t* target);

namespace internal {  // for the test that both ways agree
void DecodeHalvesPortably(const uint8_t* source, std::span<float> target);
size_t EncodeHalvesPortably(std::span<const float> source, uint8_t* target);
}  // namespace internal

}  // namespace afterimage
