// The levels of i4x, i5x and i6x: what a code of packed_codes.h may mean. Private to core/feature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace afterimage {

// Levels of b bits, as multiples of the step, ascending: 2^(b+1), negative ones first, none of them 0.
std::span<const int8_t> PackedLevels(int bits);
// Steps in a scale.
float PackedStepsPerScale(int bits);

// The same as decoders look them up.
struct PackedLevelTable {
  static constexpr size_t kMost = 128;
  alignas(32) int8_t ascending[kMost] = {};
  // The half that codes count in where the previous code's lowest bit is 0: every other level. The other half
  // has the same with the other sign, in the other order.
  alignas(32) int8_t half[kMost / 2] = {};
  size_t count;  // of all levels

  template <size_t n>
  explicit constexpr PackedLevelTable(const uint8_t (&positive)[n]) : count(2 * n) {
    for (size_t i = 0; i < n; ++i) {
      ascending[n + i] = static_cast<int8_t>(positive[i]);
      ascending[n - 1 - i] = static_cast<int8_t>(-positive[i]);
    }
    for (size_t i = 0; i < n; ++i) half[i] = ascending[2 * i];
  }
};

const PackedLevelTable& PackedLevelsOf(int bits);

}  // namespace afterimage
