#include "core/feature/feature_block_values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/feature/bfloat16.h"
#include "core/feature/half.h"

namespace afterimage::block {
namespace {

// The index of the first value that is not `good`, or the number of values. Without a branch per value the
// compiler takes many at a time.
template <typename Good>
size_t FirstNot(Good good, std::span<const float> values) {
  constexpr size_t kChunk = 1024;
  for (size_t begin = 0; begin < values.size(); begin += kChunk) {
    const auto chunk = values.subspan(begin, std::min(kChunk, values.size() - begin));
    uint32_t num_bad = 0;
    for (const float value : chunk) num_bad += good(value) ? 0 : 1;
    if (num_bad == 0) continue;
    return begin + static_cast<size_t>(std::ranges::find_if_not(chunk, good) - chunk.begin());
  }
  return values.size();
}

constexpr auto kIsFinite = [](float value) {
  constexpr uint32_t kExponent = 0x7f800000;
  return (std::bit_cast<uint32_t>(value) & kExponent) != kExponent;
};

}  // namespace

size_t FirstBeyond(std::span<const float> values, float limit) {
  return FirstNot([limit](float value) { return std::abs(value) <= limit; }, values);
}

size_t EncodeFloats(ElementType type, std::span<const float> values, uint8_t* target) {
  if (type == ElementType::kF16) return EncodeHalves(values, target);
  if (type == ElementType::kBf16) return EncodeBfloat16s(values, target);
  std::memcpy(target, values.data(), values.size_bytes());
  return FirstNot(kIsFinite, values);
}

void DecodeFloats(ElementType type, const uint8_t* source, std::span<float> values) {
  if (type == ElementType::kF16) return DecodeHalves(source, values);
  if (type == ElementType::kBf16) return DecodeBfloat16s(source, values);
  std::memcpy(values.data(), source, values.size_bytes());
}

}  // namespace afterimage::block
