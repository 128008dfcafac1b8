#include "core/base/thread_cpu_time.h"

#include <time.h>

namespace afterimage {

absl::Duration ThreadCpuTime() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

}  // namespace afterimage
