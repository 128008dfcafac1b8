#include "core/base/openmp.h"

#include <unistd.h>

#include <cstdlib>

namespace afterimage {

void UsePassiveOpenMp(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("OMP_WAIT_POLICY", "PASSIVE", /*overwrite=*/0);
  ::execv("/proc/self/exe", argv);
}

}  // namespace afterimage
