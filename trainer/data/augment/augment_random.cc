#include "trainer/data/augment/augment_random.h"

#include <cmath>

#include "core/view/fixed_point.h"

namespace afterimage::trainer {
namespace {

constexpr double kUnit = 0x1p-32;  // of one word, and of the fixed-point functions
constexpr double kLn2 = 0x1.62e42fefa39efp-1;

// log2 of an integer, as a real number.
double Log2(uint64_t value) { return static_cast<double>(FixedLog2(value)) * kUnit; }

// 2^exponent, 0 below 2^-32; for exponents up to 0.
double Exp2(double exponent) {
  if (exponent <= -32) return 0;
  return static_cast<double>(FixedExp2(static_cast<int64_t>(std::floor(exponent * 0x1p32)))) * kUnit;
}

double JoehnksBeta(double alpha, PhiloxStream& random) {
  while (true) {
    // log2 of u^(1 / alpha), u = (word + 1) / 2^32
    const double first = (Log2(uint64_t{random.Next32()} + 1) - 32) / alpha;
    const double second = (Log2(uint64_t{random.Next32()} + 1) - 32) / alpha;
    if (Exp2(first) + Exp2(second) > 1) continue;
    // first / (first + second), of powers that may be too small for a number
    const double difference = second - first;
    const double ratio = Exp2(-std::abs(difference));
    return difference <= 0 ? 1 / (1 + ratio) : ratio / (1 + ratio);
  }
}

double RejectionBeta(double alpha, PhiloxStream& random) {
  while (true) {
    const uint64_t twice = 2 * uint64_t{random.Next32()} + 1;                // x = twice / 2^33
    const double height = Log2(twice * ((uint64_t{1} << 33) - twice)) - 64;  // log2 of 4 x (1 - x)
    const double level = Log2(uint64_t{random.Next32()} + 1) - 32;
    if (level <= (alpha - 1) * height) return static_cast<double>(twice) * 0x1p-33;
  }
}

}  // namespace

AugmentRandom::AugmentRandom(uint64_t seed, uint32_t epoch, uint32_t place, AugmentPurpose purpose)
    : PhiloxStream({static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
                   {0, place, epoch, static_cast<uint32_t>(purpose)}) {}

double AugmentRandom::Uniform() { return Next32() * kUnit; }

double AugmentRandom::Normal() {
  if (spare_normal_.has_value()) {
    const double spare = *spare_normal_;
    spare_normal_.reset();
    return spare;
  }
  while (true) {
    // A point of the square [-1, 1]^2 in units of 2^-32, never the centre: both are odd.
    const int64_t x = 2 * int64_t{Next32()} + 1 - (int64_t{1} << 32);
    const int64_t y = 2 * int64_t{Next32()} + 1 - (int64_t{1} << 32);
    const auto square =
        static_cast<unsigned __int128>(static_cast<__int128>(x) * x + static_cast<__int128>(y) * y);
    if (square >> 64 != 0) continue;  // outside the unit circle
    const auto s = static_cast<uint64_t>(square);
    const double factor = std::sqrt(-2 * kLn2 * (Log2(s) - 64) / (static_cast<double>(s) * 0x1p-64));
    spare_normal_ = static_cast<double>(y) * kUnit * factor;
    return static_cast<double>(x) * kUnit * factor;
  }
}

double AugmentRandom::SymmetricBeta(double alpha) {
  return alpha <= 1 ? JoehnksBeta(alpha, *this) : RejectionBeta(alpha, *this);
}

}  // namespace afterimage::trainer
