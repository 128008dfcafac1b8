#include "core/base/allocator.h"

#include <malloc.h>

namespace afterimage {

void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

}  // namespace afterimage
