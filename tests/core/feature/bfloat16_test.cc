#include "core/feature/bfloat16.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace afterimage {
namespace {

TEST(Bfloat16Test, EveryBfloat16ComesBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = Bfloat16ToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(Bfloat16ToFloat(FloatToBfloat16(value)))) << bits;
    } else {
      EXPECT_EQ(FloatToBfloat16(value), bits);
    }
  }
}

TEST(Bfloat16Test, RoundsToTheNearestAndTiesToEven) {
  EXPECT_EQ(FloatToBfloat16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBfloat16(1.0f + 0x1p-8f), 0x3f80);             // a tie: down to even
  EXPECT_EQ(FloatToBfloat16(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);  // above it
  EXPECT_EQ(FloatToBfloat16(1.0f + 0x1p-7f + 0x1p-8f), 0x3f82);   // a tie: up to even
  EXPECT_EQ(FloatToBfloat16(-1.0f - 0x1p-7f - 0x1p-8f), 0xbf82);
  EXPECT_EQ(FloatToBfloat16(1.99999f), 0x4000);  // carries into the exponent
  EXPECT_EQ(FloatToBfloat16(-0.0f), 0x8000);
  EXPECT_EQ(FloatToBfloat16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(FloatToBfloat16(std::numeric_limits<float>::max()), 0x7f80);  // rounds beyond the range
}

TEST(Bfloat16Test, NamesTheFirstValueThatItCannotHold) {
  std::vector<float> values(3000, 0.5f);
  std::vector<uint8_t> bytes(2 * values.size());
  EXPECT_EQ(EncodeBfloat16s(values, bytes.data()), values.size());
  std::vector<float> decoded(values.size());
  DecodeBfloat16s(bytes.data(), decoded);
  EXPECT_EQ(decoded, values);
  const float bad[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::max(),
                       // All bits set: adding to it carries over into the sign.
                       std::bit_cast<float>(0xffffffffu), std::bit_cast<float>(0x7fffffffu),
                       std::bit_cast<float>(0x7f800001u)};
  for (const float value : bad) {
    for (const size_t at : {size_t{0}, size_t{1023}, size_t{1024}, size_t{2999}}) {
      std::vector<float> spoilt = values;
      spoilt[at] = value;
      spoilt.back() = value;
      EXPECT_EQ(EncodeBfloat16s(spoilt, bytes.data()), at) << value;
    }
  }
}

}  // namespace
}  // namespace afterimage
