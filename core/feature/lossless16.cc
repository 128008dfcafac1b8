#include "core/feature/lossless16.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "absl/strings/str_cat.h"
#include "core/base/copy_past_caches.h"
#include "core/base/status_macros.h"
#include "core/feature/entropy.h"
#include "core/feature/i8x.h"

namespace afterimage {
namespace {

// Upper bytes in the making: a part of the plane at a time would be as good, but a frame is decoded whole.
std::vector<uint8_t>& Scratch(size_t size) {
  thread_local std::vector<uint8_t> bytes;
  if (bytes.size() < size) bytes.resize(size);
  return bytes;
}

// Both are there twice, for any processor and for AVX2; they are integer arithmetic.
inline __attribute__((always_inline)) void Split(const uint8_t* plane, size_t count, uint8_t* lower,
                                                 uint8_t* upper) {
  for (size_t i = 0; i < count; ++i) {
    const uint16_t value = LoadLittleEndian<uint16_t>(plane + 2 * i);
    lower[i] = static_cast<uint8_t>(value << 1 | value >> 15);
    upper[i] = static_cast<uint8_t>(value >> 7);
  }
}
inline __attribute__((always_inline)) void Merge(const uint8_t* lower, const uint8_t* upper, size_t count,
                                                 uint8_t* plane) {
  for (size_t i = 0; i < count; ++i) {
    const uint16_t rotated = static_cast<uint16_t>(lower[i] | upper[i] << 8);
    const uint16_t value = static_cast<uint16_t>(rotated >> 1 | rotated << 15);
    std::memcpy(plane + 2 * i, &value, sizeof(value));
  }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void SplitWidely(const uint8_t* plane, size_t count, uint8_t* lower,
                                                 uint8_t* upper) {
  Split(plane, count, lower, upper);
}

// Sixteen values that are rotated, each to the right by a bit.
__attribute__((target("avx2"))) inline __m256i RotatedBack(__m256i values) {
  return _mm256_or_si256(_mm256_srli_epi16(values, 1), _mm256_slli_epi16(values, 15));
}

// `streams`: past the caches (core/base/copy_past_caches.h), to a plane that is aligned for a register.
template <bool streams>
__attribute__((target("avx2"))) void MergeRegisters(const uint8_t* lower, const uint8_t* upper, size_t count,
                                                    uint8_t* plane) {
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lower + i));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(upper + i));
    // Unpacking goes by halves of registers: values 0 to 7 and 16 to 23, then the others.
    const __m256i first = RotatedBack(_mm256_unpacklo_epi8(low, high));
    const __m256i second = RotatedBack(_mm256_unpackhi_epi8(low, high));
    const __m256i in_order[2] = {_mm256_permute2x128_si256(first, second, 0x20),
                                 _mm256_permute2x128_si256(first, second, 0x31)};
    auto* const target = reinterpret_cast<__m256i*>(plane + 2 * i);
    for (size_t k = 0; k < 2; ++k) {
      streams ? _mm256_stream_si256(target + k, in_order[k]) : _mm256_storeu_si256(target + k, in_order[k]);
    }
  }
  Merge(lower + i, upper + i, count - i, plane + 2 * i);
  if (streams) _mm_sfence();
}

void MergeWidely(const uint8_t* lower, const uint8_t* upper, size_t count, uint8_t* plane) {
  const size_t past_alignment = reinterpret_cast<uintptr_t>(plane) % sizeof(__m256i);
  if (2 * count < kPastCachesFromBytes || past_alignment % 2 != 0)
    return MergeRegisters<false>(lower, upper, count, plane);
  const size_t head = past_alignment == 0 ? 0 : (sizeof(__m256i) - past_alignment) / 2;
  Merge(lower, upper, head, plane);
  MergeRegisters<true>(lower + head, upper + head, count - head, plane + 2 * head);
}
#else
constexpr auto SplitWidely = Split;
constexpr auto MergeWidely = Merge;
#endif

std::vector<uint8_t> Encode(ByteSpan plane, bool wide) {
  const size_t count = plane.size() / 2;
  std::vector<uint8_t> bytes(count);
  uint8_t* const upper = Scratch(count).data();
  (wide ? SplitWidely : Split)(plane.data(), count, bytes.data(), upper);
  AppendHuffmanFrame({upper, count}, bytes);
  return bytes;
}

absl::Status Decode(ByteSpan bytes, std::span<uint8_t> plane, bool wide) {
  const size_t count = plane.size() / 2;
  if (bytes.size() < count) {
    return absl::DataLossError(absl::StrCat("lossless16: ", bytes.size(), " bytes for ", count, " values"));
  }
  uint8_t* const upper = Scratch(count).data();
  AFTERIMAGE_RETURN_IF_ERROR(ReadHuffmanFrame(bytes.subspan(count), {upper, count}));
  (wide ? MergeWidely : Merge)(bytes.data(), upper, count, plane.data());
  return absl::OkStatus();
}

}  // namespace

namespace internal {

std::vector<uint8_t> EncodeLossless16Portably(ByteSpan plane) { return Encode(plane, false); }
absl::Status DecodeLossless16Portably(ByteSpan bytes, std::span<uint8_t> plane) {
  return Decode(bytes, plane, false);
}

}  // namespace internal

std::vector<uint8_t> EncodeLossless16(ByteSpan plane) { return Encode(plane, internal::HasWideI8x()); }
absl::Status DecodeLossless16(ByteSpan bytes, std::span<uint8_t> plane) {
  return Decode(bytes, plane, internal::HasWideI8x());
}

}  // namespace afterimage
