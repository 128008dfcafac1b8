// What a process has used so far: CPU, memory, threads, descriptors.
#pragma once

#include <cstdint>

namespace afterimage {

struct ProcessUsage {
  double cpu_seconds = 0;            // user and system, of all threads
  uint64_t resident_bytes = 0;       // now
  uint64_t peak_resident_bytes = 0;  // the most there ever was
  uint32_t num_threads = 0;
  uint32_t num_descriptors = 0;
};

// Of this process, as the system counts it. What /proc does not tell is zero.
ProcessUsage OwnUsage();

}  // namespace afterimage
