#include "core/feature/bfloat16.h"

#include <algorithm>
#include <cstring>

#include "core/base/bytes.h"

namespace afterimage {
namespace {

constexpr uint16_t kExponent = 0x7f80;

bool IsFinite(uint16_t value) { return (value & kExponent) != kExponent; }

}  // namespace

void DecodeBfloat16s(const uint8_t* source, std::span<float> target) {
  for (size_t i = 0; i < target.size(); ++i) {
    target[i] = Bfloat16ToFloat(LoadLittleEndian<uint16_t>(source + 2 * i));
  }
}

size_t EncodeBfloat16s(std::span<const float> source, uint8_t* target) {
  constexpr size_t kChunk = 1024;
  for (size_t begin = 0; begin < source.size(); begin += kChunk) {
    const auto chunk = source.subspan(begin, std::min(kChunk, source.size() - begin));
    // Without a branch per value the compiler takes many at a time. The float is looked at too: rounding
    // carries some NaNs over into the sign.
    uint32_t num_bad = 0;
    for (size_t i = 0; i < chunk.size(); ++i) {
      const uint32_t bits = std::bit_cast<uint32_t>(chunk[i]);
      const uint16_t rounded = internal::RoundToBfloat16(bits);
      num_bad += IsFinite(rounded) && IsFinite(static_cast<uint16_t>(bits >> 16)) ? 0 : 1;
      std::memcpy(target + 2 * (begin + i), &rounded, sizeof(rounded));
    }
    if (num_bad == 0) continue;
    const auto is_bad = [](float value) { return !IsFinite(FloatToBfloat16(value)); };
    return begin + static_cast<size_t>(std::ranges::find_if(chunk, is_bad) - chunk.begin());
  }
  return source.size();
}

}  // namespace afterimage
