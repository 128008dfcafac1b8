#include "core/base/allocator.h"

#include <malloc.h>

namespace afterimage {

void KeepFreedMemory(int max_arenas) {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  if (max_arenas > 0) mallopt(M_ARENA_MAX, max_arenas);
}

}  // namespace afterimage
