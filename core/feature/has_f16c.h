// Whether this processor converts IEEE binary16. Private to core/feature.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace afterimage::internal {

// With AVX, that is. Always false on other processors than x86-64.
inline bool HasF16c() {
#if defined(__x86_64__)
  static const bool has = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;  // clang 14 does not know "f16c" by name
    return __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
  }();
  return has;
#else
  return false;
#endif
}

}  // namespace afterimage::internal
