#include "core/view/fixed_point.h"

#include <bit>

namespace afterimage {
namespace {

constexpr int kFractionBits = 32;

// 2^(2^-1), 2^(2^-2), … 2^(2^-32) with 63 fractional bits, rounded down.
constexpr uint64_t kRoots[kFractionBits] = {
    0xb504f333f9de6484, 0x9837f0518db8a96f, 0x8b95c1e3ea8bd6e6, 0x85aac367cc487b14, 0x82cd8698ac2ba1d7,
    0x8164d1f3bc030773, 0x80b1ed4fd999ab6c, 0x8058d7d2d5e5f6b0, 0x802c6436d0e04f50, 0x8016302f17467628,
    0x800b179c82028fd0, 0x80058baf7fee3b5d, 0x8002c5d00fdcfcb6, 0x800162e61bed4a48, 0x8000b17292f702a3,
    0x800058b92abbae02, 0x80002c5c8dade4d7, 0x8000162e44eaf636, 0x80000b1721fa7c18, 0x8000058b90de7e4c,
    0x800002c5c8678f36, 0x80000162e431db9f, 0x800000b1721872d0, 0x80000058b90c1aa8, 0x8000002c5c8605a4,
    0x800000162e4300e6, 0x8000000b17217ff8, 0x800000058b90bfdd, 0x80000002c5c85fe6, 0x8000000162e42ff1,
    0x80000000b17217f8, 0x8000000058b90bfc};

// The product of two numbers of [1, 2) with 63 fractional bits, rounded down. It may reach 2, and 65 bits.
unsigned __int128 MultiplyQ63(uint64_t a, uint64_t b) { return static_cast<unsigned __int128>(a) * b >> 63; }

}  // namespace

int64_t FixedLog2(uint64_t value) {
  const int exponent = 63 - std::countl_zero(value);
  uint64_t mantissa = value << (63 - exponent);  // [1, 2) with 63 fractional bits
  int64_t fraction = 0;
  // Squaring doubles the logarithm: its next binary digit is 1 where the square reaches 2.
  for (int i = 0; i < kFractionBits; ++i) {
    const unsigned __int128 square = MultiplyQ63(mantissa, mantissa);
    const auto digit = static_cast<int>(square >> 64);
    mantissa = static_cast<uint64_t>(square >> digit);
    fraction = fraction << 1 | digit;
  }
  return int64_t{exponent} << kFractionBits | fraction;
}

uint64_t FixedExp2(int64_t exponent) {
  const auto integer = static_cast<int>(exponent >> kFractionBits);  // rounded down
  const auto fraction = static_cast<uint32_t>(exponent);
  uint64_t product = uint64_t{1} << 63;
  for (int i = 0; i < kFractionBits; ++i) {
    // Below 2, as the whole product is 2^fraction with every step rounded down.
    if (fraction >> (kFractionBits - 1 - i) & 1)
      product = static_cast<uint64_t>(MultiplyQ63(product, kRoots[i]));
  }
  return product >> (63 - kFractionBits - integer);
}

}  // namespace afterimage
