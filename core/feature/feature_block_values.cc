#include "core/feature/feature_block_values.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/feature/bfloat16.h"
#include "core/feature/half.h"

namespace afterimage::block {
namespace {

// The index of the first infinity or NaN, or the number of values.
size_t FirstNotFinite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000;
  constexpr size_t kChunk = 1024;
  const auto is_finite = [](float value) {
    return (std::bit_cast<uint32_t>(value) & kExponent) != kExponent;
  };
  for (size_t begin = 0; begin < values.size(); begin += kChunk) {
    const auto chunk = values.subspan(begin, std::min(kChunk, values.size() - begin));
    // Without a branch per value the compiler takes many at a time.
    uint32_t num_bad = 0;
    for (const float value : chunk) num_bad += is_finite(value) ? 0 : 1;
    if (num_bad == 0) continue;
    return begin + static_cast<size_t>(std::ranges::find_if_not(chunk, is_finite) - chunk.begin());
  }
  return values.size();
}

}  // namespace

size_t EncodeFloats(ElementType type, std::span<const float> values, uint8_t* target) {
  if (type == ElementType::kF16) return EncodeHalves(values, target);
  if (type == ElementType::kBf16) return EncodeBfloat16s(values, target);
  std::memcpy(target, values.data(), values.size_bytes());
  return FirstNotFinite(values);
}

void DecodeFloats(ElementType type, const uint8_t* source, std::span<float> values) {
  if (type == ElementType::kF16) return DecodeHalves(source, values);
  if (type == ElementType::kBf16) return DecodeBfloat16s(source, values);
  std::memcpy(values.data(), source, values.size_bytes());
}

}  // namespace afterimage::block
