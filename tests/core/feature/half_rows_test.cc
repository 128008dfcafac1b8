#include "core/feature/half_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "core/feature/bfloat16.h"
#include "core/feature/half.h"
#include "gmock/gmock.h"

namespace afterimage {
namespace {

// Steps and means at their bounds and between: values from the smallest halves to 300. Of every width that
// the wide way has another remainder of.
I8xChannels Channels(size_t width) {
  std::vector<float> mean, step;
  for (size_t c = 0; c < width; ++c) {
    mean.push_back(c % 7 == 0 ? 0.0f : (static_cast<float>(c % 23) - 11.0f) * 21.3f);
    step.push_back(c % 3 == 0 ? kI8xSmallestStep : 0.5f / static_cast<float>(1 + c % 11));
  }
  return I8xChannels::WithSteps(mean, step);
}

std::vector<uint16_t> Halves(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (const float value : values) halves.push_back(FloatToHalf(value));
  return halves;
}
std::vector<uint16_t> Bfloat16s(const std::vector<float>& values) {
  std::vector<uint16_t> rounded;
  for (const float value : values) rounded.push_back(FloatToBfloat16(value));
  return rounded;
}

using Decode = void (*)(const I8xChannels& channels, const int8_t* row, uint8_t* target);
// Into a place that is aligned for every register, and into one that is not.
std::vector<uint16_t> Decoded(Decode decode, const I8xChannels& channels, const int8_t* row) {
  constexpr size_t kAlignment = 64;
  const size_t row_bytes = 2 * channels.mean.size();
  std::vector<uint8_t> bytes(2 * kAlignment + row_bytes + 2);
  std::vector<uint16_t> values[2];
  for (const size_t offset : {0, 1}) {
    std::ranges::fill(bytes, 0xee);
    void* aligned = bytes.data() + 1;
    size_t room = bytes.size() - 1;
    uint8_t* const target = static_cast<uint8_t*>(std::align(kAlignment, row_bytes, aligned, room)) + offset;
    decode(channels, row, target);
    FinishHalfRows();
    EXPECT_EQ(target[-1], 0xee);
    EXPECT_EQ(target[row_bytes], 0xee);
    values[offset].resize(channels.mean.size());
    std::memcpy(values[offset].data(), target, row_bytes);
  }
  EXPECT_EQ(values[0], values[1]);
  return values[0];
}

TEST(HalfRowsTest, BothWaysHaveTheBitsOfARowOfFloatsThatIsRounded) {
  if (!internal::HasWideHalfRows()) GTEST_LOG_(INFO) << "this processor has one way only";
  for (size_t width = 1; width <= 50; ++width) {
    const I8xChannels channels = Channels(width);
    for (int first = -128; first < 128; ++first) {  // every channel meets every code
      std::vector<int8_t> row;
      for (size_t c = 0; c < width; ++c) row.push_back(static_cast<int8_t>(first + static_cast<int>(c)));
      std::vector<float> values(width);
      DecodeI8xRow(channels, row.data(), values.data());
      ASSERT_EQ(Decoded(DecodeI8xRowToHalves, channels, row.data()), Halves(values)) << width << " " << first;
      ASSERT_EQ(Decoded(internal::DecodeI8xRowToHalvesPortably, channels, row.data()), Halves(values));
      ASSERT_EQ(Decoded(DecodeI8xRowToBfloat16s, channels, row.data()), Bfloat16s(values));
      ASSERT_EQ(Decoded(internal::DecodeI8xRowToBfloat16sPortably, channels, row.data()), Bfloat16s(values));
    }
  }
}

}  // namespace
}  // namespace afterimage
