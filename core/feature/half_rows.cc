#include "core/feature/half_rows.h"

#include <cstddef>
#include <cstring>

#include "core/feature/bfloat16.h"
#include "core/feature/half.h"
#include "core/feature/has_f16c.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace afterimage {
namespace {

float ValueOf(const I8xChannels& channels, const int8_t* row, size_t channel) {
  return static_cast<float>(row[channel]) * channels.step[channel] + channels.mean[channel];
}

// From channel `begin` on.
void ToHalves(const I8xChannels& channels, size_t begin, const int8_t* row, uint8_t* target) {
  for (size_t channel = begin; channel < channels.mean.size(); ++channel) {
    const uint16_t half = FloatToHalf(ValueOf(channels, row, channel));
    std::memcpy(target + 2 * channel, &half, sizeof(half));
  }
}
void ToBfloat16s(const I8xChannels& channels, size_t begin, const int8_t* row, uint8_t* target) {
  for (size_t channel = begin; channel < channels.mean.size(); ++channel) {
    const uint16_t rounded = FloatToBfloat16(ValueOf(channels, row, channel));
    std::memcpy(target + 2 * channel, &rounded, sizeof(rounded));
  }
}

#if defined(__x86_64__)

// Eight channels from `channel` on: multiplied, rounded, added, rounded, as ValueOf does it.
__attribute__((target("avx2"))) inline __m256 EightValues(const I8xChannels& channels, const int8_t* row,
                                                          size_t channel) {
  const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + channel));
  const __m256 levels = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
  const __m256 scaled = _mm256_mul_ps(levels, _mm256_loadu_ps(channels.step.data() + channel));
  return _mm256_add_ps(scaled, _mm256_loadu_ps(channels.mean.data() + channel));
}

// Rows go past the caches where they are aligned: a batch is larger than these, and is read much later or by
// a device. A cached store would first fetch the line that it overwrites.
bool IsAligned(const uint8_t* target) { return reinterpret_cast<uintptr_t>(target) % sizeof(__m128i) == 0; }

template <bool streams>
void Store(__m128i values, uint8_t* target) {
  auto* const place = reinterpret_cast<__m128i*>(target);
  streams ? _mm_stream_si128(place, values) : _mm_storeu_si128(place, values);
}

template <bool streams>
__attribute__((target("avx2,f16c"))) void ToHalvesWidely(const I8xChannels& channels, const int8_t* row,
                                                         uint8_t* target) {
  const size_t width = channels.mean.size();
  size_t channel = 0;
  for (; channel + 8 <= width; channel += 8) {
    const __m128i halves = _mm256_cvtps_ph(EightValues(channels, row, channel), _MM_FROUND_TO_NEAREST_INT);
    Store<streams>(halves, target + 2 * channel);
  }
  ToHalves(channels, channel, row, target);
}

// Rounds as RoundToBfloat16.
__attribute__((target("avx2"))) inline __m256i EightBfloat16s(__m256 values) {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i carried = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  return _mm256_srli_epi32(carried, 16);
}

template <bool streams>
__attribute__((target("avx2"))) void ToBfloat16sWidely(const I8xChannels& channels, const int8_t* row,
                                                       uint8_t* target) {
  const size_t width = channels.mean.size();
  size_t channel = 0;
  for (; channel + 16 <= width; channel += 16) {
    const __m256i lower = EightBfloat16s(EightValues(channels, row, channel));
    const __m256i upper = EightBfloat16s(EightValues(channels, row, channel + 8));
    // Packing goes by halves of registers: 0213 puts them in order.
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(lower, upper), 0b11'01'10'00);
    Store<streams>(_mm256_castsi256_si128(packed), target + 2 * channel);
    Store<streams>(_mm256_extracti128_si256(packed, 1), target + 2 * channel + sizeof(__m128i));
  }
  ToBfloat16s(channels, channel, row, target);
}

#endif

}  // namespace

namespace internal {

void DecodeI8xRowToHalvesPortably(const I8xChannels& channels, const int8_t* row, uint8_t* target) {
  ToHalves(channels, 0, row, target);
}
void DecodeI8xRowToBfloat16sPortably(const I8xChannels& channels, const int8_t* row, uint8_t* target) {
  ToBfloat16s(channels, 0, row, target);
}
bool HasWideHalfRows() { return HasWideI8x() && HasF16c(); }

}  // namespace internal

void FinishHalfRows() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

void DecodeI8xRowToHalves(const I8xChannels& channels, const int8_t* row, uint8_t* target) {
#if defined(__x86_64__)
  if (internal::HasWideHalfRows()) {
    return IsAligned(target) ? ToHalvesWidely<true>(channels, row, target)
                             : ToHalvesWidely<false>(channels, row, target);
  }
#endif
  ToHalves(channels, 0, row, target);
}

void DecodeI8xRowToBfloat16s(const I8xChannels& channels, const int8_t* row, uint8_t* target) {
#if defined(__x86_64__)
  if (internal::HasWideHalfRows()) {
    return IsAligned(target) ? ToBfloat16sWidely<true>(channels, row, target)
                             : ToBfloat16sWidely<false>(channels, row, target);
  }
#endif
  ToBfloat16s(channels, 0, row, target);
}

}  // namespace afterimage
