#include "core/base/process_usage.h"

#include <sys/resource.h>
#include <sys/time.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace afterimage {
namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

ProcessUsage OwnUsage() {
  ProcessUsage usage;
  rusage own = {};
  getrusage(RUSAGE_SELF, &own);
  usage.cpu_seconds = Seconds(own.ru_utime) + Seconds(own.ru_stime);
  std::ifstream status("/proc/self/status");
  for (std::string field; status >> field;) {
    uint64_t value = 0;
    if (field == "VmHWM:" && status >> value) usage.peak_resident_bytes = value << 10;  // told in KiB
    if (field == "VmRSS:" && status >> value) usage.resident_bytes = value << 10;
    if (field == "Threads:" && status >> value) usage.num_threads = static_cast<uint32_t>(value);
  }
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end; !error && entry != end;
       entry.increment(error)) {
    ++usage.num_descriptors;
  }
  if (usage.num_descriptors > 0) --usage.num_descriptors;  // the folder's own
  return usage;
}

}  // namespace afterimage
