// Where the bits of a row of packed codes lie (packed_codes.h says it in words), for processor and GPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/host_device.h"

namespace afterimage {

// Bytes of the fifth and sixth bits of a row's codes.
AFTERIMAGE_HOST_DEVICE inline constexpr size_t PackedExtraBytes(int bits, size_t width) {
  return bits == 4 ? 0 : bits == 5 ? (width + 7) / 8 : (width + 3) / 4;
}

// Groups of channels, one in each bit (or two bits) of those bytes.
inline constexpr size_t PackedGroups(int bits) { return bits == 5 ? 8 : 4; }

// Bytes of a row's codes: where the upper halves of the wide channels' int8 begin.
AFTERIMAGE_HOST_DEVICE inline constexpr size_t PackedCodeBytes(int bits, size_t width) {
  return (width + 1) / 2 + PackedExtraBytes(bits, width);
}

// The code of one channel.
AFTERIMAGE_HOST_DEVICE inline uint32_t PackedCodeAt(int bits, uint32_t width, const uint8_t* row,
                                                    uint32_t channel) {
  const uint32_t half = (width + 1) / 2;
  const uint32_t lower = channel < half ? row[channel] & 15u : row[channel - half] >> 4;
  if (bits == 4) return lower;
  const uint32_t columns = static_cast<uint32_t>(PackedExtraBytes(bits, width));
  const uint32_t step = static_cast<uint32_t>(bits - 4);
  const uint32_t extra = row[half + channel % columns] >> (channel / columns * step) & ((1u << step) - 1);
  return lower | extra << 4;
}

// Which of the 2^(bits + 1) levels a code means, ascending, where `previous` and `before` are the codes of
// the two channels before it (of wide channels too; 0 where there is none). The lowest bits of codes are the
// path through the trellis: that of the previous one says which half of the levels, every other one of them,
// the code counts in.
AFTERIMAGE_HOST_DEVICE inline constexpr uint32_t PackedLevelOf(uint32_t code, uint32_t previous,
                                                               uint32_t before) {
  return 2 * (code ^ (before & 1u)) + (previous & 1u);
}

// The same of one channel of a row.
AFTERIMAGE_HOST_DEVICE inline uint32_t PackedLevelAt(int bits, uint32_t width, const uint8_t* row,
                                                     uint32_t channel) {
  const uint32_t previous = channel < 1 ? 0 : PackedCodeAt(4, width, row, channel - 1);
  const uint32_t before = channel < 2 ? 0 : PackedCodeAt(4, width, row, channel - 2);
  return PackedLevelOf(PackedCodeAt(bits, width, row, channel), previous, before);
}

// The int8 of a wide channel, the one with this number among them.
AFTERIMAGE_HOST_DEVICE inline int8_t PackedWideAt(int bits, uint32_t width, const uint8_t* row,
                                                  uint32_t channel, uint32_t number) {
  const uint32_t lower = PackedCodeAt(4, width, row, channel);
  const uint32_t upper = row[PackedCodeBytes(bits, width) + number / 2] >> (number % 2 * 4) & 15u;
  return static_cast<int8_t>(lower | upper << 4);
}

}  // namespace afterimage
