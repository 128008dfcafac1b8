// The arithmetic of the codecs i4x, i5x and i6x: a few bits a value, whole bytes for the widest channels, and
// a list of what is not met well enough.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/feature/coded_plane.h"

namespace afterimage {

// Of a row, the channels that the profile lists as wide have one int8 each, q held within -127..127:
//   value = q * step + mean,  step = sigma * 5 / 127, held within [kI8xSmallestStep, kLargestWideStep]
// The others have a code of b = 4, 5 or 6 bits, the upper one the sign, the rest the index of a magnitude:
//   value = (± magnitude) * scale + mean,  scale = sigma, held within [kSmallestScale, kLargestScale]
// All in float32, each operation rounded by itself. Magnitudes are the levels of Lloyd and Max for a normal
// distribution (IEEE Trans. Inf. Theory 28, 1982; IRE Trans. Inf. Theory 6, 1960), as multiples of 1/4096.
//
// A value that would come back with a larger error than kPackedTolerance is an exception, kept as it is. The
// largest error is kPackedLargestError: that, plus a rounding to f16 where many exceptions led to one (1/16
// below 256). Encoding what was decoded gives the same bytes.
inline constexpr float kSmallestScale = 0x1p-8f;
inline constexpr float kLargestScale = 1.5f;
inline constexpr float kLargestWideStep = 0.34375f;  // 11/32
inline constexpr float kPackedTolerance = 0.4375f;   // 7/16
inline constexpr float kPackedLargestError = 0.5f;

// Of one level.
struct PackedChannels {
  std::vector<float> mean;
  std::vector<float> scale;
  std::vector<float> inverse_scale;
  std::vector<uint16_t> wide;  // channels, strictly ascending
  std::vector<float> wide_step;
  std::vector<float> wide_inverse_step;

  PackedChannels() = default;
  // `wide`: as above, all of them channels.
  PackedChannels(const std::vector<float>& mean, const std::vector<float>& sigma, std::vector<uint16_t> wide);

  size_t width() const { return mean.size(); }
  size_t RowBytes(int bits) const;  // PackedRowBytes with its wide channels
};

// Bytes of a row. With H = ceil(width / 2): byte i < H has the low four bits of the code of channel i in its
// lower half and those of channel i + H in its upper half. Then, with 5 bits, E = ceil(width / 8) bytes: bit
// k of byte i is bit 4 of the code of channel k * E + i. With 6 bits, Q = ceil(width / 4) bytes: bits 2k and
// 2k + 1 of byte i are bits 4 and 5 of the code of channel k * Q + i. The code of a wide channel is the lower
// half of its int8; the upper halves follow, byte i having that of wide channel number 2i in its lower half
// and that of number 2i + 1 in its upper half. Bits of channels that do not exist are 0.
size_t PackedRowBytes(int bits, size_t width, size_t num_wide);

// The magnitudes of the codes with b bits, by index: 2^(b-1) of them.
std::span<const float> PackedMagnitudes(int bits);

// Encodes one row and decodes it again into `decoded` (without exceptions). Returns the number of exceptions:
// values farther than kPackedTolerance from what came back.
size_t EncodePackedRow(const PackedChannels& channels, int bits, const float* values, uint8_t* target,
                       float* decoded);
// Whether a value that came back as `decoded` is an exception: what EncodePackedRow counts.
bool IsPackedException(float value, float decoded);
// `values`: rows of the channels' width, all within kLargestFeature.
CodedPlane EncodePackedPlane(const PackedChannels& channels, int bits, std::span<const float> values);
// One row, without its exceptions.
void DecodePackedRow(const PackedChannels& channels, int bits, const uint8_t* row, float* target);

namespace internal {  // for the test that both ways agree
size_t EncodePackedRowPortably(const PackedChannels& channels, int bits, const float* values, uint8_t* target,
                               float* decoded);
void DecodePackedRowPortably(const PackedChannels& channels, int bits, const uint8_t* row, float* target);
// True where the processor has another way.
bool HasWidePacked();
size_t EncodePackedRowWidely(const PackedChannels& channels, int bits, const float* values, uint8_t* target,
                             float* decoded);
void DecodePackedRowWidely(const PackedChannels& channels, int bits, const uint8_t* row, float* target);
}  // namespace internal

}  // namespace afterimage
