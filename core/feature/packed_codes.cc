#include "core/feature/packed_codes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/feature/i8x.h"
#include "core/feature/packed_layout.h"

namespace afterimage {
namespace {

constexpr float kUnit = 1.0f / 4096;

// Of the positive half; docs/feature_block_format.md has the same numbers.
constexpr uint16_t kMagnitudes4[] = {526, 1589, 2690, 3860, 5146, 6628, 8475, 11193};
constexpr uint16_t kMagnitudes5[] = {270,  811,  1357, 1912, 2478, 3060, 3664,  4296,
                                     4964, 5678, 6456, 7321, 8310, 9493, 11023, 13356};
constexpr uint16_t kMagnitudes6[] = {137,  411,  685,  961,  1238, 1517,  1798,  2082,  2370,  2661, 2957,
                                     3258, 3565, 3880, 4201, 4532, 4873,  5226,  5592,  5973,  6373, 6794,
                                     7240, 7717, 8231, 8793, 9417, 10122, 10946, 11950, 13273, 15336};

constexpr int kMaxMagnitudes = 32;

struct Table {
  alignas(32) float magnitude[kMaxMagnitudes] = {};
  float threshold[kMaxMagnitudes] =
      {};  // between magnitude i and i + 1: exact, as all these are multiples of 1/8192
  int size = 0;

  template <size_t n>
  explicit Table(const uint16_t (&units)[n]) : size(n) {
    for (size_t i = 0; i < n; ++i) magnitude[i] = units[i] * kUnit;
    for (size_t i = 0; i + 1 < n; ++i)
      threshold[i] = static_cast<float>(units[i] + units[i + 1]) * (kUnit / 2);
  }
};

const Table& TableOf(int bits) {
  static const Table four(kMagnitudes4), five(kMagnitudes5), six(kMagnitudes6);
  return bits == 4 ? four : bits == 5 ? five : six;
}

// Widths are at most 65536; codes of a row lie here on their way.
std::vector<uint8_t>& Scratch(size_t width) {
  thread_local std::vector<uint8_t> codes;
  if (codes.size() < width) codes.resize(width);
  return codes;
}

// The loops are compiled for the widest registers too, as in i8x.cc: same operations, same bits.

inline __attribute__((always_inline)) void CodesOf(const PackedChannels& channels, int bits,
                                                   const float* values, uint8_t* codes) {
  const Table& table = TableOf(bits);
  const size_t width = channels.width();
  const float* const mean = channels.mean.data();
  const float* const inverse_scale = channels.inverse_scale.data();
  const uint8_t sign = static_cast<uint8_t>(1 << (bits - 1));
  constexpr size_t kChunk = 64;
  for (size_t begin = 0; begin < width; begin += kChunk) {
    const size_t count = std::min(kChunk, width - begin);
    float scaled[kChunk];
    int32_t index[kChunk];
    for (size_t i = 0; i < count; ++i) {
      scaled[i] = (values[begin + i] - mean[begin + i]) * inverse_scale[begin + i];
      index[i] = 0;
    }
    for (int t = 0; t + 1 < table.size; ++t) {
      const float threshold = table.threshold[t];
      for (size_t i = 0; i < count; ++i) index[i] += std::abs(scaled[i]) >= threshold ? 1 : 0;
    }
    for (size_t i = 0; i < count; ++i) {
      codes[begin + i] = static_cast<uint8_t>(index[i] | (scaled[i] < 0 ? sign : 0));
    }
  }
}

// The upper bits of the codes lie in `kPlanes` groups of channels, one group in each bit (or two bits) of the
// extra bytes.
template <int bits>
constexpr size_t kPlanes = bits == 5 ? 8 : 4;

template <int bits, size_t k>
inline __attribute__((always_inline)) void PackExtra(size_t width, size_t columns,
                                                     const uint8_t* __restrict codes,
                                                     uint8_t* __restrict extra) {
  if (k * columns >= width) return;
  const size_t count = std::min(columns, width - k * columns);
  const uint8_t* __restrict const source = codes + k * columns;
  for (size_t i = 0; i < count; ++i)
    extra[i] = static_cast<uint8_t>(extra[i] | (source[i] >> 4) << (k * (bits - 4)));
  if constexpr (k + 1 < kPlanes<bits>) PackExtra<bits, k + 1>(width, columns, codes, extra);
}

template <int bits, size_t k>
inline __attribute__((always_inline)) void UnpackExtra(size_t width, size_t columns,
                                                       const uint8_t* __restrict extra,
                                                       uint8_t* __restrict codes) {
  if (k * columns >= width) return;
  constexpr uint8_t kMask = (1 << (bits - 4)) - 1;
  const size_t count = std::min(columns, width - k * columns);
  uint8_t* __restrict const target = codes + k * columns;
  for (size_t i = 0; i < count; ++i)
    target[i] = static_cast<uint8_t>(target[i] | (extra[i] >> (k * (bits - 4)) & kMask) << 4);
  if constexpr (k + 1 < kPlanes<bits>) UnpackExtra<bits, k + 1>(width, columns, extra, codes);
}

inline __attribute__((always_inline)) void PackCodes(int bits, size_t width, const uint8_t* __restrict codes,
                                                     uint8_t* __restrict target) {
  const size_t half = (width + 1) / 2;
  for (size_t i = 0; i < width - half; ++i) {
    target[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + half] & 15) << 4);
  }
  if (half > width - half) target[half - 1] = codes[half - 1] & 15;
  const size_t columns = PackedExtraBytes(bits, width);
  std::memset(target + half, 0, columns);
  if (bits == 5) PackExtra<5, 0>(width, columns, codes, target + half);
  if (bits == 6) PackExtra<6, 0>(width, columns, codes, target + half);
}

inline __attribute__((always_inline)) void UnpackCodes(int bits, size_t width, const uint8_t* __restrict row,
                                                       uint8_t* __restrict codes) {
  const size_t half = (width + 1) / 2;
  for (size_t i = 0; i < half; ++i) codes[i] = row[i] & 15;
  for (size_t i = 0; i < width - half; ++i) codes[i + half] = row[i] >> 4;
  const size_t columns = PackedExtraBytes(bits, width);
  if (bits == 5) UnpackExtra<5, 0>(width, columns, row + half, codes);
  if (bits == 6) UnpackExtra<6, 0>(width, columns, row + half, codes);
}

inline __attribute__((always_inline)) void ValueOf(const PackedChannels& channels, const Table& table,
                                                   int bits, const uint8_t* codes, size_t channel,
                                                   float* target) {
  const uint32_t code = codes[channel];
  const uint32_t index = code & static_cast<uint32_t>(table.size - 1);
  const uint32_t sign = (code >> (bits - 1) & 1) << 31;
  const float level = std::bit_cast<float>(std::bit_cast<uint32_t>(table.magnitude[index]) ^ sign);
  target[channel] = level * channels.scale[channel] + channels.mean[channel];
}

// `codes`: of the whole row, unpacked. `uppers`: the bytes behind them in the row.
inline void DecodeWideChannels(const PackedChannels& channels, const uint8_t* codes, const uint8_t* uppers,
                               float* target) {
  const uint16_t* const wide = channels.wide.data();
  const float* const mean = channels.mean.data();
  const float* const step = channels.wide_step.data();
  const auto decode = [&](size_t i, unsigned upper) {
    const size_t channel = wide[i];
    const int8_t q = static_cast<int8_t>((codes[channel] & 15u) | upper);
    target[channel] = static_cast<float>(q) * step[i] + mean[channel];
  };
  const size_t count = channels.wide.size();
  for (size_t i = 0; i + 2 <= count; i += 2) {
    const unsigned both = uppers[i / 2];
    decode(i, both << 4);
    decode(i + 1, both & 0xf0u);
  }
  if (count % 2 != 0) decode(count - 1, static_cast<unsigned>(uppers[count / 2]) << 4);
}

inline __attribute__((always_inline)) size_t CountExceptions(size_t width, const float* values,
                                                             const float* decoded) {
  uint32_t count = 0;
  for (size_t i = 0; i < width; ++i) count += std::abs(values[i] - decoded[i]) <= kPackedTolerance ? 0 : 1;
  return count;
}

inline __attribute__((always_inline)) void EncodeCodes(const PackedChannels& channels, int bits,
                                                       const float* values, uint8_t* target) {
  const size_t width = channels.width();
  uint8_t* const codes = Scratch(width).data();
  CodesOf(channels, bits, values, codes);
  constexpr float kMost = 127.0f, kMagic = 0x1.8p23f;  // adding and taking kMagic away rounds, as in i8x.cc
  uint8_t* const uppers = target + PackedCodeBytes(bits, width);
  for (size_t i = 0; i < channels.wide.size(); ++i) {
    const size_t channel = channels.wide[i];
    const float scaled = (values[channel] - channels.mean[channel]) * channels.wide_inverse_step[i];
    const float rounded = (std::clamp(scaled, -kMost, kMost) + kMagic) - kMagic;
    const uint32_t q = static_cast<uint32_t>(static_cast<int32_t>(rounded)) & 0xff;
    codes[channel] = q & 15;
    uppers[i / 2] = static_cast<uint8_t>(i % 2 == 0 ? q >> 4 : uppers[i / 2] | (q & 0xf0));
  }
  PackCodes(bits, width, codes, target);
}

}  // namespace

namespace internal {

size_t EncodePackedRowPortably(const PackedChannels& channels, int bits, const float* values, uint8_t* target,
                               float* decoded) {
  EncodeCodes(channels, bits, values, target);
  DecodePackedRowPortably(channels, bits, target, decoded);
  return CountExceptions(channels.width(), values, decoded);
}

void DecodePackedRowPortably(const PackedChannels& channels, int bits, const uint8_t* row, float* target) {
  const size_t width = channels.width();
  uint8_t* const codes = Scratch(width).data();
  UnpackCodes(bits, width, row, codes);
  const Table& table = TableOf(bits);
  for (size_t channel = 0; channel < width; ++channel) ValueOf(channels, table, bits, codes, channel, target);
  DecodeWideChannels(channels, codes, row + PackedCodeBytes(bits, width), target);
}

#if defined(__x86_64__)

namespace {

// Eight magnitudes per register; the lower three bits of a code choose inside one, the next ones among them.
template <int bits>
__attribute__((target("avx2"))) void DecodeEights(const PackedChannels& channels, const Table& table,
                                                  const uint8_t* codes, size_t width, float* target) {
  constexpr int kRegisters = 1 << (bits - 4);
  __m256 magnitudes[kRegisters];
  for (int i = 0; i < kRegisters; ++i) magnitudes[i] = _mm256_load_ps(table.magnitude + 8 * i);
  const __m256i sign_bit = _mm256_set1_epi32(static_cast<int>(0x80000000u));
  const float* const scale = channels.scale.data();
  const float* const mean = channels.mean.data();
  for (size_t at = 0; at < width; at += 8) {
    const __m256i code = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + at)));
    const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(code, 32 - bits), sign_bit);
    __m256 magnitude = _mm256_permutevar8x32_ps(magnitudes[0], code);
    if constexpr (bits >= 5) {
      const __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
      magnitude = _mm256_blendv_ps(magnitude, _mm256_permutevar8x32_ps(magnitudes[1], code), bit3);
      if constexpr (bits == 6) {
        const __m256 bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(code, 27));
        const __m256 upper = _mm256_blendv_ps(_mm256_permutevar8x32_ps(magnitudes[2], code),
                                              _mm256_permutevar8x32_ps(magnitudes[3], code), bit3);
        magnitude = _mm256_blendv_ps(magnitude, upper, bit4);
      }
    }
    const __m256 level = _mm256_xor_ps(magnitude, _mm256_castsi256_ps(sign));
    const __m256 scaled = _mm256_mul_ps(level, _mm256_loadu_ps(scale + at));
    _mm256_storeu_ps(target + at, _mm256_add_ps(scaled, _mm256_loadu_ps(mean + at)));
  }
}

// As UnpackCodes; bytes are shifted in lanes of two, and what crosses between them is masked away.
__attribute__((target("avx2"))) void UnpackCodesWidely(int bits, size_t width, const uint8_t* row,
                                                       uint8_t* codes) {
  UnpackCodes(4, width, row, codes);
  if (bits == 4) return;
  const size_t columns = PackedExtraBytes(bits, width);
  const uint8_t* const extra = row + (width + 1) / 2;
  const int step = bits - 4;
  const uint8_t mask = static_cast<uint8_t>((1 << step) - 1);
  const __m256i masks = _mm256_set1_epi8(static_cast<char>(mask));
  for (size_t k = 0; k * columns < width; ++k) {
    const size_t count = std::min(columns, width - k * columns);
    uint8_t* const target = codes + k * columns;
    const int shift = static_cast<int>(k) * step;
    const __m128i shifts = _mm_cvtsi32_si128(shift);
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
      const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(extra + i));
      const __m256i upper = _mm256_slli_epi16(_mm256_and_si256(_mm256_srl_epi16(bytes, shifts), masks), 4);
      __m256i* const at = reinterpret_cast<__m256i*>(target + i);
      _mm256_storeu_si256(at, _mm256_or_si256(_mm256_loadu_si256(at), upper));
    }
    for (; i < count; ++i) target[i] = static_cast<uint8_t>(target[i] | (extra[i] >> shift & mask) << 4);
  }
}

__attribute__((target("avx2"))) void EncodeCodesWidely(const PackedChannels& channels, int bits,
                                                       const float* values, uint8_t* target) {
  EncodeCodes(channels, bits, values, target);
}

__attribute__((target("avx2"))) size_t CountExceptionsWidely(size_t width, const float* values,
                                                             const float* decoded) {
  return CountExceptions(width, values, decoded);
}

}  // namespace

void DecodePackedRowWidely(const PackedChannels& channels, int bits, const uint8_t* row, float* target) {
  const size_t width = channels.width();
  uint8_t* const codes = Scratch(width).data();
  UnpackCodesWidely(bits, width, row, codes);
  const Table& table = TableOf(bits);
  const size_t whole = width / 8 * 8;
  const auto decode = bits == 4 ? DecodeEights<4> : bits == 5 ? DecodeEights<5> : DecodeEights<6>;
  decode(channels, table, codes, whole, target);
  for (size_t channel = whole; channel < width; ++channel)
    ValueOf(channels, table, bits, codes, channel, target);
  DecodeWideChannels(channels, codes, row + PackedCodeBytes(bits, width), target);
}

size_t EncodePackedRowWidely(const PackedChannels& channels, int bits, const float* values, uint8_t* target,
                             float* decoded) {
  EncodeCodesWidely(channels, bits, values, target);
  DecodePackedRowWidely(channels, bits, target, decoded);
  return CountExceptionsWidely(channels.width(), values, decoded);
}

bool HasWidePacked() { return HasWideI8x(); }

#else

void DecodePackedRowWidely(const PackedChannels& channels, int bits, const uint8_t* row, float* target) {
  DecodePackedRowPortably(channels, bits, row, target);
}
size_t EncodePackedRowWidely(const PackedChannels& channels, int bits, const float* values, uint8_t* target,
                             float* decoded) {
  return EncodePackedRowPortably(channels, bits, values, target, decoded);
}
bool HasWidePacked() { return false; }

#endif

}  // namespace internal

PackedChannels::PackedChannels(const std::vector<float>& means, const std::vector<float>& sigma,
                               std::vector<uint16_t> wide_channels)
    : mean(means), wide(std::move(wide_channels)) {
  for (const float deviation : sigma) {
    scale.push_back(std::clamp(deviation, kSmallestScale, kLargestScale));
    inverse_scale.push_back(1.0f / scale.back());
  }
  for (const uint16_t channel : wide) {
    wide_step.push_back(std::clamp(sigma[channel] * 5.0f / 127.0f, kI8xSmallestStep, kLargestWideStep));
    wide_inverse_step.push_back(1.0f / wide_step.back());
  }
}

std::span<const float> PackedMagnitudes(int bits) {
  const Table& table = TableOf(bits);
  return {table.magnitude, static_cast<size_t>(table.size)};
}

size_t PackedRowBytes(int bits, size_t width, size_t num_wide) {
  return PackedCodeBytes(bits, width) + (num_wide + 1) / 2;
}

size_t PackedChannels::RowBytes(int bits) const { return PackedRowBytes(bits, width(), wide.size()); }

bool IsPackedException(float value, float decoded) {
  return !(std::abs(value - decoded) <= kPackedTolerance);
}

size_t EncodePackedRow(const PackedChannels& channels, int bits, const float* values, uint8_t* target,
                       float* decoded) {
  return (internal::HasWidePacked() ? internal::EncodePackedRowWidely : internal::EncodePackedRowPortably)(
      channels, bits, values, target, decoded);
}

CodedPlane EncodePackedPlane(const PackedChannels& channels, int bits, std::span<const float> values) {
  const size_t width = channels.width();
  const size_t row_bytes = channels.RowBytes(bits);
  std::vector<float> decoded(width);
  return EncodeWithExceptions(values, [&](std::span<const float> rows, CodedPlane& plane) {
    const size_t max_exceptions = rows.size() / kValuesPerException;
    plane.bytes.resize(rows.size() / width * row_bytes);
    plane.exceptions.clear();
    uint8_t* target = plane.bytes.data();
    for (size_t begin = 0; begin < rows.size(); begin += width, target += row_bytes) {
      const float* const row = rows.data() + begin;
      const size_t of_row = EncodePackedRow(channels, bits, row, target, decoded.data());
      if (plane.exceptions.size() + of_row > max_exceptions) return false;
      for (size_t channel = 0; of_row > 0 && channel < width; ++channel) {
        if (!IsPackedException(row[channel], decoded[channel])) continue;
        plane.exceptions.push_back({static_cast<uint32_t>(begin + channel), row[channel]});
      }
    }
    return true;
  });
}

void DecodePackedRow(const PackedChannels& channels, int bits, const uint8_t* row, float* target) {
  (internal::HasWidePacked() ? internal::DecodePackedRowWidely : internal::DecodePackedRowPortably)(
      channels, bits, row, target);
}

}  // namespace afterimage
