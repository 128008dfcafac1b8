// bfloat16 and back: the upper half of a float32.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace afterimage {

// Exact.
inline float Bfloat16ToFloat(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }
// Round to nearest, ties to even; beyond the largest after rounding: infinity. NaNs are made quiet.
uint16_t FloatToBfloat16(float value);

// `source` holds target.size() little-endian bfloat16, at any alignment.
void DecodeBfloat16s(const uint8_t* source, std::span<float> target);
// Writes source.size() bfloat16. The index of the first value that is not finite or rounds beyond the range,
// or source.size() if there is none; what is written is unspecified then.
size_t EncodeBfloat16s(std::span<const float> source, uint8_t* target);

}  // namespace afterimage
