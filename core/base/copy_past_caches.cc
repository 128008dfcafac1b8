#include "core/base/copy_past_caches.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace afterimage {
namespace {

#if defined(__x86_64__)

__attribute__((target("avx2"))) void StreamCopy(uint8_t* target, const uint8_t* source, size_t size) {
  constexpr size_t kRegister = sizeof(__m256i), kLines = 4 * kRegister;
  const size_t past_alignment = reinterpret_cast<uintptr_t>(target) % kRegister;
  const size_t head = past_alignment == 0 ? 0 : std::min(size, kRegister - past_alignment);
  std::memcpy(target, source, head);
  size_t at = head;
  for (; at + kLines <= size; at += kLines) {
    __m256i registers[4];  // loaded before any is stored: a line is written as a whole
    for (size_t i = 0; i < 4; ++i)
      registers[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + at + i * kRegister));
    for (size_t i = 0; i < 4; ++i)
      _mm256_stream_si256(reinterpret_cast<__m256i*>(target + at + i * kRegister), registers[i]);
  }
  std::memcpy(target + at, source + at, size - at);
  _mm_sfence();  // such stores are not ordered with those that tell of them
}

bool CanStream() {
  static const bool can = __builtin_cpu_supports("avx2");
  return can;
}

#endif

}  // namespace

void CopyPastCaches(uint8_t* target, const uint8_t* source, size_t size) {
#if defined(__x86_64__)
  if (size >= kPastCachesFromBytes && CanStream()) return StreamCopy(target, source, size);
#endif
  if (size > 0) std::memcpy(target, source, size);
}

}  // namespace afterimage
