#include "core/feature/half.h"

#include <cstring>

#include "core/base/bytes.h"
#include "core/feature/has_f16c.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace afterimage {
namespace {

#if defined(__x86_64__)

__attribute__((target("avx,f16c"))) void DecodeWithF16c(const uint8_t* source, std::span<float> target) {
  size_t i = 0;
  for (; i + 8 <= target.size(); i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + 2 * i));
    _mm256_storeu_ps(target.data() + i, _mm256_cvtph_ps(halves));
  }
  internal::DecodeHalvesPortably(source + 2 * i, target.subspan(i));
}

__attribute__((target("avx,f16c"))) size_t EncodeWithF16c(std::span<const float> source, uint8_t* target) {
  const __m128i exponent = _mm_set1_epi16(kHalfExponent);
  size_t i = 0;
  for (; i + 8 <= source.size(); i += 8) {
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(source.data() + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target + 2 * i), halves);
    // An exponent of all ones is an infinity or a NaN.
    if (_mm_movemask_epi8(_mm_cmpeq_epi16(_mm_and_si128(halves, exponent), exponent)) != 0) break;
  }
  return i + internal::EncodeHalvesPortably(source.subspan(i), target + 2 * i);
}

#endif

}  // namespace

namespace internal {

void DecodeHalvesPortably(const uint8_t* source, std::span<float> target) {
  for (size_t i = 0; i < target.size(); ++i)
    target[i] = HalfToFloat(LoadLittleEndian<uint16_t>(source + 2 * i));
}

size_t EncodeHalvesPortably(std::span<const float> source, uint8_t* target) {
  for (size_t i = 0; i < source.size(); ++i) {
    const uint16_t half = FloatToHalf(source[i]);
    if ((half & kHalfExponent) == kHalfExponent) return i;
    std::memcpy(target + 2 * i, &half, sizeof(half));
  }
  return source.size();
}

}  // namespace internal

void DecodeHalves(const uint8_t* source, std::span<float> target) {
#if defined(__x86_64__)
  if (internal::HasF16c()) return DecodeWithF16c(source, target);
#endif
  internal::DecodeHalvesPortably(source, target);
}

size_t EncodeHalves(std::span<const float> source, uint8_t* target) {
#if defined(__x86_64__)
  if (internal::HasF16c()) return EncodeWithF16c(source, target);
#endif
  return internal::EncodeHalvesPortably(source, target);
}

}  // namespace afterimage
