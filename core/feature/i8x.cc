#include "core/feature/i8x.h"

#include <algorithm>
#include <cmath>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace afterimage {
namespace {

// Below it a float that is rounded to the nearest integer is at most 127 in magnitude.
constexpr float kRange = 127.5f;

float Scaled(const I8xChannels& channels, size_t channel, float value) {
  return (value - channels.mean[channel]) * channels.inverse_step[channel];
}

bool IsException(float scaled) { return !(std::abs(scaled) < kRange); }

// Everything is there twice, for any processor and for AVX2: the same operations on each value, and so the
// same bits. Adding kMagic and taking it away rounds to an integer, ties to even: a float this large has no
// fraction.
constexpr float kMagic = 0x1.8p23f;

// From channel `begin` on. Returns the number of exceptions.
size_t EncodeRow(const I8xChannels& channels, size_t begin, const float* values, int8_t* target) {
  const size_t width = channels.mean.size();
  const float* const mean = channels.mean.data();
  const float* const inverse_step = channels.inverse_step.data();
  size_t num_exceptions = 0;
  for (size_t channel = begin; channel < width; ++channel) {
    const float scaled = (values[channel] - mean[channel]) * inverse_step[channel];
    const bool fits = std::abs(scaled) < kRange;
    const float rounded = ((fits ? scaled : 0.0f) + kMagic) - kMagic;
    target[channel] = static_cast<int8_t>(static_cast<int32_t>(rounded));
    num_exceptions += fits ? 0 : 1;
  }
  return num_exceptions;
}

inline __attribute__((always_inline)) void DecodeRow(const I8xChannels& channels, const int8_t* row,
                                                     float* target) {
  const size_t width = channels.mean.size();
  const float* const mean = channels.mean.data();
  const float* const step = channels.step.data();
  for (size_t channel = 0; channel < width; ++channel) {
    target[channel] = static_cast<float>(row[channel]) * step[channel] + mean[channel];
  }
}

}  // namespace

namespace internal {

size_t EncodeI8xRowPortably(const I8xChannels& channels, const float* values, int8_t* target) {
  return EncodeRow(channels, 0, values, target);
}
void DecodeI8xRowPortably(const I8xChannels& channels, const int8_t* row, float* target) {
  DecodeRow(channels, row, target);
}

#if defined(__x86_64__)

namespace {

// Of eight channels, as 32-bit integers; `exceptions` gets a bit for each of them.
__attribute__((target("avx2"))) inline __m256i EncodeEight(const float* values, const float* mean,
                                                           const float* inverse_step, int& exceptions) {
  const __m256 magnitude_bits = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const __m256 magic = _mm256_set1_ps(kMagic);
  const __m256 scaled = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(values), _mm256_loadu_ps(mean)),
                                      _mm256_loadu_ps(inverse_step));
  const __m256 fits =
      _mm256_cmp_ps(_mm256_and_ps(scaled, magnitude_bits), _mm256_set1_ps(kRange), _CMP_LT_OQ);
  exceptions = ~_mm256_movemask_ps(fits) & 0xff;
  return _mm256_cvttps_epi32(_mm256_sub_ps(_mm256_add_ps(_mm256_and_ps(scaled, fits), magic), magic));
}

}  // namespace

__attribute__((target("avx2,popcnt"))) size_t EncodeI8xRowWidely(const I8xChannels& channels,
                                                                 const float* values, int8_t* target) {
  const size_t width = channels.mean.size();
  const float* const mean = channels.mean.data();
  const float* const inverse_step = channels.inverse_step.data();
  const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // packing goes by halves of registers
  size_t num_exceptions = 0, channel = 0;
  for (; channel + 32 <= width; channel += 32) {
    __m256i eights[4];
    for (size_t i = 0; i < 4; ++i) {
      const size_t at = channel + 8 * i;
      int exceptions = 0;
      eights[i] = EncodeEight(values + at, mean + at, inverse_step + at, exceptions);
      num_exceptions += static_cast<size_t>(__builtin_popcount(static_cast<unsigned>(exceptions)));
    }
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(eights[0], eights[1]),
                                             _mm256_packs_epi32(eights[2], eights[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + channel),
                        _mm256_permutevar8x32_epi32(bytes, in_order));
  }
  return num_exceptions + EncodeRow(channels, channel, values, target);
}
__attribute__((target("avx2"))) void DecodeI8xRowWidely(const I8xChannels& channels, const int8_t* row,
                                                        float* target) {
  DecodeRow(channels, row, target);
}
bool HasWideI8x() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
  return has;
}

#else

size_t EncodeI8xRowWidely(const I8xChannels& channels, const float* values, int8_t* target) {
  return EncodeRow(channels, 0, values, target);
}
void DecodeI8xRowWidely(const I8xChannels& channels, const int8_t* row, float* target) {
  DecodeRow(channels, row, target);
}
bool HasWideI8x() { return false; }

#endif

}  // namespace internal

namespace {

// False: too many exceptions.
bool EncodeRows(const I8xChannels& channels, std::span<const float> values, CodedPlane& plane) {
  plane.bytes.resize(values.size());
  plane.exceptions.clear();
  const size_t max_exceptions = values.size() / kValuesPerException;
  const size_t width = channels.mean.size();
  const bool wide = internal::HasWideI8x();
  size_t num_exceptions = 0;
  for (size_t begin = 0; begin < values.size(); begin += width) {
    const float* const row = values.data() + begin;
    int8_t* const target = reinterpret_cast<int8_t*>(plane.bytes.data()) + begin;
    const size_t of_row = wide ? internal::EncodeI8xRowWidely(channels, row, target)
                               : internal::EncodeI8xRowPortably(channels, row, target);
    num_exceptions += of_row;
    if (num_exceptions > max_exceptions) return false;
    for (size_t channel = 0; of_row > 0 && channel < width; ++channel) {
      if (!IsException(Scaled(channels, channel, row[channel]))) continue;
      plane.exceptions.push_back({static_cast<uint32_t>(begin + channel), row[channel]});
    }
  }
  return true;
}

}  // namespace

I8xChannels::I8xChannels(const std::vector<float>& means, const std::vector<float>& sigma, float clip)
    : mean(means) {
  for (const float deviation : sigma) {
    step.push_back(std::clamp(deviation * clip / 127.0f, kI8xSmallestStep, kI8xLargestStep));
    inverse_step.push_back(1.0f / step.back());
  }
}

I8xChannels I8xChannels::WithSteps(const std::vector<float>& mean, std::vector<float> step) {
  I8xChannels channels;
  channels.mean = mean;
  channels.step = std::move(step);
  for (const float one : channels.step) channels.inverse_step.push_back(1.0f / one);
  return channels;
}

CodedPlane EncodeI8xPlane(const I8xChannels& channels, std::span<const float> values) {
  return EncodeWithExceptions(values, [&](std::span<const float> rows, CodedPlane& plane) {
    return EncodeRows(channels, rows, plane);
  });
}

void DecodeI8xRow(const I8xChannels& channels, const int8_t* row, float* target) {
  return internal::HasWideI8x() ? internal::DecodeI8xRowWidely(channels, row, target)
                                : internal::DecodeI8xRowPortably(channels, row, target);
}

}  // namespace afterimage
