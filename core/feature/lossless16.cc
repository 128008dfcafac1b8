#include "core/feature/lossless16.h"

#include <cstring>

#include "absl/strings/str_cat.h"
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

// Both loops are there twice, for any processor and for AVX2; they are integer arithmetic.
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
__attribute__((target("avx2"))) void MergeWidely(const uint8_t* lower, const uint8_t* upper, size_t count,
                                                 uint8_t* plane) {
  Merge(lower, upper, count, plane);
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
