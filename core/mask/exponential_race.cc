#include "core/mask/exponential_race.h"

#include <algorithm>
#include <bit>
#include <compare>
#include <utility>

#include "core/view/fixed_point.h"

namespace afterimage::mask_internal {
namespace {

// value * 2^exponent.
struct Scaled {
  uint64_t value = 0;  // > 0
  int32_t exponent = 0;

  int32_t TopBit() const { return exponent + 63 - std::countl_zero(value); }
};

std::strong_ordering Compare(const Scaled& a, const Scaled& b) {
  if (a.TopBit() != b.TopBit()) return a.TopBit() <=> b.TopBit();
  // Equal top bits: the exponents differ by less than 64.
  const int32_t lowest = std::min(a.exponent, b.exponent);
  return static_cast<unsigned __int128>(a.value) << (a.exponent - lowest) <=>
         static_cast<unsigned __int128>(b.value) << (b.exponent - lowest);
}

}  // namespace

Runner MakeRunner(uint16_t patch, float weight, uint64_t random) {
  Runner runner;
  runner.patch = patch;
  // IEEE 754 binary32: 23 bits of fraction, exponent bias 127; a biased exponent of 0 marks subnormal
  // numbers.
  const uint32_t bits = std::bit_cast<uint32_t>(weight) & 0x7fffffff;
  const auto biased = static_cast<int32_t>(bits >> 23);
  runner.mantissa = (bits & 0x7fffff) | (biased > 0 ? 1u << 23 : 0u);
  runner.exponent = std::max(biased, 1) - 127 - 23;
  // -log2 of a uniform number of (0, 1]; FixedLog2 is below 64 * 2^32, so time is above 0.
  runner.time = (uint64_t{64} << 32) - static_cast<uint64_t>(FixedLog2(std::max<uint64_t>(random, 1)));
  return runner;
}

bool DrawnBefore(const Runner& a, const Runner& b) {
  if ((a.mantissa == 0) != (b.mantissa == 0)) return b.mantissa == 0;
  std::strong_ordering order = std::strong_ordering::equal;
  if (a.mantissa == 0) {
    order = b.time <=> a.time;
  } else {
    // weight_a / time_a against weight_b / time_b, multiplied out: 24 + 39 bits fit in 64.
    order = Compare({a.mantissa * b.time, a.exponent}, {b.mantissa * a.time, b.exponent});
  }
  return order == std::strong_ordering::equal ? a.patch < b.patch : order == std::strong_ordering::greater;
}

}  // namespace afterimage::mask_internal
