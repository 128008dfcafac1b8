// IEEE binary16 and back, the same bits with and without F16C.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace afterimage {

// Exact. NaNs are made quiet, as the hardware does.
float HalfToFloat(uint16_t half);
// Round to nearest, ties to even; beyond 65504 after rounding: infinity.
uint16_t FloatToHalf(float value);

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
