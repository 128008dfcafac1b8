#include "core/view/fixed_point.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace afterimage {
namespace {

// The vectors are printed by reference.py.
TEST(FixedLog2Test, GoldenVectors) {
  const struct {
    uint64_t value;
    int64_t expected;
  } cases[] = {
      {1u, 0},
      {2u, 4294967296},
      {3u, 6807362105},
      {5u, 9972605231},
      {7u, 12057497578},
      {10u, 14267572527},
      {1000u, 42802717581},
      {65535u, 68719382186},
      {4294967295u, 137438953470},
      {4294967297u, 137438953473},
      {6700417u, 97391902963},
      {123456789012345u, 201051711955},
      {9223372036854775807u, 270582939647},
      {9223372036854775809u, 270582939648},
      {18446744073709551615u, 274877906943},
      {14142135623730950488u, 273231361664},
  };
  for (const auto& [value, expected] : cases) EXPECT_EQ(FixedLog2(value), expected) << value;
}

TEST(FixedLog2Test, IsBelowTheLogarithmByLessThanTwoUnits) {
  uint64_t state = 1;
  for (int i = 0; i < 100000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t value = (state >> (i % 64)) | 1;
    // 64 bits of mantissa: log2 is good to about 2^-58 here, far below the unit of 2^-32.
    const long double error = std::log2(static_cast<long double>(value)) * 4294967296.0L - FixedLog2(value);
    ASSERT_GE(error, -1e-6L) << value;
    ASSERT_LT(error, 2.0L) << value;
  }
}

TEST(FixedLog2Test, IsExactForPowersOfTwo) {
  for (int i = 0; i < 64; ++i) EXPECT_EQ(FixedLog2(uint64_t{1} << i), int64_t{i} << 32);
}

TEST(FixedExp2Test, GoldenVectors) {
  const struct {
    int64_t exponent;
    uint64_t expected;
  } cases[] = {
      {0, 4294967296u},
      {1, 4294967296u},
      {-1, 4294967295u},
      {2147483648, 6074000999u},
      {-2147483648, 3037000499u},
      {4294967296, 8589934592u},
      {-4294967296, 2147483648u},
      {1782545413, 5726598040u},
      {-1782545413, 3221239546u},
      {123456789, 4381399204u},
      {-987654321, 3662150178u},
      {21474837257, 137438970706u},
      {-30064783417, 33554365u},
      {133143986175, 9223372035366253551u},
      {-137438953472, 1u},
      {-137438953471, 1u},
      {44023414784, 5230188203117u},
  };
  for (const auto& [exponent, expected] : cases) EXPECT_EQ(FixedExp2(exponent), expected) << exponent;
}

TEST(FixedExp2Test, KeepsItsErrorBound) {
  uint64_t state = 1;
  for (int i = 0; i < 100000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const auto exponent = static_cast<int64_t>((state >> 1) % (uint64_t{63} << 32)) - (int64_t{32} << 32);
    const long double exact = std::exp2(static_cast<long double>(exponent) / 4294967296.0L) * 4294967296.0L;
    const long double error = exact - static_cast<long double>(FixedExp2(exponent));
    ASSERT_GE(error, -exact * 0x1p-58L) << exponent;
    ASSERT_LT(error, 1.0L + exact * 0x1p-56L) << exponent;
  }
}

TEST(FixedExp2Test, IsExactForWholeExponents) {
  for (int i = -32; i < 31; ++i) EXPECT_EQ(FixedExp2(int64_t{i} * 4294967296), uint64_t{1} << (32 + i));
}

}  // namespace
}  // namespace afterimage
