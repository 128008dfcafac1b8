#include "core/feature/half.h"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "core/base/bytes.h"
#include "gmock/gmock.h"

namespace afterimage {
namespace {

TEST(HalfTest, KnownValues) {
  EXPECT_EQ(FloatToHalf(0.0f), 0x0000);
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000);
  EXPECT_EQ(FloatToHalf(1.0f), 0x3c00);
  EXPECT_EQ(FloatToHalf(-2.0f), 0xc000);
  EXPECT_EQ(FloatToHalf(65504.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(0x1p-14f), 0x0400);
  EXPECT_EQ(FloatToHalf(0x1p-24f), 0x0001);
  EXPECT_EQ(FloatToHalf(0x1p-25f), 0x0000);  // halfway to the smallest: to even
  EXPECT_EQ(FloatToHalf(0x1.000002p-25f), 0x0001);
  EXPECT_EQ(FloatToHalf(1.0f + 0x1p-11f), 0x3c00);  // halfway: to even, down
  EXPECT_EQ(FloatToHalf(1.0f + 0x3p-11f), 0x3c02);  // halfway: to even, up
  EXPECT_EQ(HalfToFloat(0x3555), 0.333251953125f);
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24f);
  EXPECT_TRUE(std::isinf(HalfToFloat(0x7c00)));
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7c01)));
}

TEST(HalfTest, EveryFiniteHalfRoundTrips) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    if ((half & 0x7c00) == 0x7c00) continue;
    EXPECT_EQ(FloatToHalf(HalfToFloat(static_cast<uint16_t>(half))), half);
  }
}

// Only a difference where the hardware has F16C.
TEST(HalfTest, DecodingIsBitEqualWithAndWithoutHardware) {
  std::vector<uint16_t> halves(0x10000 + 5);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<uint8_t> unaligned(halves.size() * 2 + 1);
  std::memcpy(unaligned.data() + 1, halves.data(), halves.size() * 2);
  std::vector<float> fast(halves.size());
  std::vector<float> portable(halves.size());
  DecodeHalves(unaligned.data() + 1, fast);
  internal::DecodeHalvesPortably(unaligned.data() + 1, portable);
  for (size_t i = 0; i < halves.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(fast[i]), std::bit_cast<uint32_t>(portable[i])) << i;
  }
}

TEST(HalfTest, EncodingIsBitEqualWithAndWithoutHardware) {
  std::vector<float> values;
  for (uint64_t bits = 0; bits < 0x100000000; bits += 104729) {  // a prime step through all floats
    const float value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (std::abs(value) < 65520.0f) values.push_back(value);
  }
  ASSERT_GT(values.size(), 20000u);
  std::vector<uint8_t> fast(values.size() * 2);
  std::vector<uint8_t> portable(values.size() * 2);
  EXPECT_EQ(EncodeHalves(values, fast.data()), values.size());
  EXPECT_EQ(internal::EncodeHalvesPortably(values, portable.data()), values.size());
  EXPECT_EQ(fast, portable);
}

TEST(HalfTest, EncodingStopsAtTheFirstValueThatDoesNotFit) {
  for (const float bad : {65520.0f, -1e30f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    for (const size_t at : {0, 3, 8, 21, 22}) {
      std::vector<float> values(23, 1.5f);
      values[at] = bad;
      std::vector<uint8_t> target(values.size() * 2);
      EXPECT_EQ(EncodeHalves(values, target.data()), at);
      EXPECT_EQ(internal::EncodeHalvesPortably(values, target.data()), at);
    }
  }
}

}  // namespace
}  // namespace afterimage
