#include "core/base/process_usage.h"

#include <fcntl.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace afterimage {
namespace {

TEST(ProcessUsageTest, CountsCpuMemoryThreadsAndDescriptors) {
  const ProcessUsage before = OwnUsage();
  EXPECT_GT(before.resident_bytes, 0);
  EXPECT_GE(before.peak_resident_bytes, before.resident_bytes);
  EXPECT_GE(before.num_threads, 1);

  std::vector<char> memory(32 << 20, 'x');
  const int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(descriptor, 0);
  ProcessUsage within;
  std::thread thread([&] { within = OwnUsage(); });
  thread.join();
  close(descriptor);
  volatile uint64_t sum = 0;
  double cpu = before.cpu_seconds;
  while (cpu < before.cpu_seconds + 0.02) {
    for (const char c : memory) sum = sum + static_cast<uint64_t>(c);
    cpu = OwnUsage().cpu_seconds;
  }
  EXPECT_EQ(within.num_threads, before.num_threads + 1);
  EXPECT_EQ(within.num_descriptors, before.num_descriptors + 1);
  EXPECT_GE(within.resident_bytes, before.resident_bytes + (30 << 20));
  EXPECT_GE(within.peak_resident_bytes, within.resident_bytes);
}

}  // namespace
}  // namespace afterimage
