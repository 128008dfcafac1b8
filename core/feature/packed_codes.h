// The arithmetic of the codecs i4x, i5x and i6x: a few bits a value along a trellis, whole bytes for the
// widest channels, and a list of what is not met well enough.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/feature/coded_plane.h"
#include "core/feature/i8x.h"

namespace afterimage {

// A row is decoded to an int8 q of each channel, and from there as a row of i8x: value = q * step + mean.
//
// Of the channels that the profile lists as wide, the row holds q itself, within -127..127, with
//   step = sigma * 5 / 127, held within [kI8xSmallestStep, kLargestWideStep]
// The others have a code of b = 4, 5 or 6 bits, and
//   step = scale / PackedStepsPerScale(b), scale = sigma, held within [kSmallestScale, kLargestScale]
// There are 2^(b+1) levels (packed_levels.h), twice as many as codes: which half of them a code chooses from
// depends on the two codes before it (PackedLevelOf). So neighbouring values share the bit that a row has too
// little, and the one who encodes looks for the best path of a whole row: trellis-coded quantisation with
// Ungerboeck's code of four states (Marcellin and Fischer, IEEE Trans. Commun. 38, 1990; Ungerboeck, IEEE
// Trans. Inf. Theory 28, 1982). Of a normal distribution its error is 0.82 to 0.86 of that of the best
// quantiser of single values.
//
// A value that would come back with a larger error than kPackedTolerance is an exception, kept as it is. The
// largest error is kPackedLargestError: that, plus a rounding to f16 where many exceptions led to one (1/16
// below 256). Encoding what was decoded gives the same bytes.
inline constexpr float kSmallestScale = 0x1p-8f;
inline constexpr float kLargestScale = 1.5f;
inline constexpr float kLargestWideStep = 0.34375f;  // 11/32
inline constexpr float kPackedTolerance = 0.4375f;   // 7/16
inline constexpr float kPackedLargestError = 0.5f;

// Of one level of a teacher.
class PackedChannels {
 public:
  PackedChannels() = default;
  // `wide`: channels, strictly ascending.
  PackedChannels(const std::vector<float>& mean, const std::vector<float>& sigma, std::vector<uint16_t> wide);

  size_t width() const { return scale_.size(); }
  size_t RowBytes(int bits) const;  // PackedRowBytes with its wide channels
  // Mean and step of each channel, those of wide ones among them.
  const I8xChannels& steps(int bits) const { return steps_[static_cast<size_t>(bits - 4)]; }
  const std::vector<float>& scale() const { return scale_; }
  const std::vector<uint16_t>& wide() const { return wide_; }

  // For who puts upper halves in, 16 channels at a time, from channel 16 * i on: they begin with the upper
  // half of wide channel number first_wide()[i], and that of channel c is from_first()[c] further, where it
  // is not negative. Both go on to a multiple of 32 channels.
  const std::vector<uint16_t>& first_wide() const { return first_wide_; }
  const std::vector<int8_t>& from_first() const { return from_first_; }

 private:
  std::vector<float> scale_;
  std::vector<uint16_t> wide_;
  std::array<I8xChannels, 3> steps_;
  std::vector<uint16_t> first_wide_;
  std::vector<int8_t> from_first_;
};

// Bytes of a row. With H = ceil(width / 2): byte i < H has the low four bits of the code of channel i in its
// lower half and those of channel i + H in its upper half. Then, with 5 bits, E = ceil(width / 8) bytes: bit
// k of byte i is bit 4 of the code of channel k * E + i. With 6 bits, Q = ceil(width / 4) bytes: bits 2k and
// 2k + 1 of byte i are bits 4 and 5 of the code of channel k * Q + i. The code of a wide channel is the lower
// half of its int8; the upper halves follow, byte i having that of wide channel number 2i in its lower half
// and that of number 2i + 1 in its upper half. Bits of channels that do not exist are 0.
size_t PackedRowBytes(int bits, size_t width, size_t num_wide);

// Encodes `count` rows, one after the other, and decodes them again into `decoded` (without exceptions).
// `num_exceptions`, of each row: of how many of its values IsPackedException is true.
void EncodePackedRows(const PackedChannels& channels, int bits, const float* values, size_t count,
                      uint8_t* target, float* decoded, size_t* num_exceptions);
// Whether a value that came back as `decoded` is an exception.
inline bool IsPackedException(float value, float decoded) {
  return !(std::abs(value - decoded) <= kPackedTolerance);
}
// `values`: rows of the channels' width, all within kLargestFeature.
CodedPlane EncodePackedPlane(const PackedChannels& channels, int bits, std::span<const float> values);

// The q of one row, to be decoded with `steps(bits)`; they stay until the calling thread unpacks another one.
const int8_t* UnpackRow(const PackedChannels& channels, int bits, const uint8_t* row);
// One row, without its exceptions.
void DecodePackedRow(const PackedChannels& channels, int bits, const uint8_t* row, float* target);

namespace internal {  // for the test that both ways agree
void EncodePackedRowsPortably(const PackedChannels& channels, int bits, const float* values, size_t count,
                              uint8_t* target, float* decoded, size_t* num_exceptions);
// Room for `width` of them, and 32 more.
void UnpackRowPortably(const PackedChannels& channels, int bits, const uint8_t* row, int8_t* target);
// True where the processor has another way.
bool HasWidePacked();
void EncodePackedRowsWidely(const PackedChannels& channels, int bits, const float* values, size_t count,
                            uint8_t* target, float* decoded, size_t* num_exceptions);
void UnpackRowWidely(const PackedChannels& channels, int bits, const uint8_t* row, int8_t* target);
}  // namespace internal

}  // namespace afterimage
