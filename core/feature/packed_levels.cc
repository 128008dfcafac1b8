#include "core/feature/packed_levels.h"

namespace afterimage {
namespace {

// The positive levels, as multiples of the step; docs/feature_block_format.md has the same numbers. They have
// the least error for a normal distribution that levels can have which are integers, found as Lloyd did it,
// with the best path for the values of each round (tests/golden/trellis_levels.py).
constexpr uint8_t kPositive4[] = {2, 7, 12, 17, 22, 27, 32, 38, 43, 50, 56, 64, 73, 85, 101, 125};
constexpr uint8_t kPositive5[] = {1,  3,  6,  8,  10, 12, 15, 17, 19, 22, 24, 26, 29, 31, 34,  37,
                                  39, 42, 45, 48, 51, 55, 58, 62, 66, 71, 76, 82, 89, 98, 109, 127};
constexpr uint8_t kPositive6[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,  15,  16,
                                  17, 19, 20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 31, 33,  34,  35,
                                  36, 38, 39, 41, 42, 43, 45, 46, 48, 49, 51, 53, 54, 56,  58,  60,
                                  62, 64, 66, 68, 71, 73, 76, 79, 82, 86, 89, 94, 99, 106, 115, 127};

constexpr PackedLevelTable kFour(kPositive4), kFive(kPositive5), kSix(kPositive6);

}  // namespace

const PackedLevelTable& PackedLevelsOf(int bits) { return bits == 4 ? kFour : bits == 5 ? kFive : kSix; }

std::span<const int8_t> PackedLevels(int bits) {
  const PackedLevelTable& levels = PackedLevelsOf(bits);
  return {levels.ascending, levels.count};
}

float PackedStepsPerScale(int bits) { return bits == 4 ? 40.0f : bits == 5 ? 34.0f : 31.0f; }

}  // namespace afterimage
