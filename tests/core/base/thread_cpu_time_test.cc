#include "core/base/thread_cpu_time.h"

#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace afterimage {
namespace {

TEST(ThreadCpuTimeTest, CountsThisThreadsWorkAndNothingElse) {
  const absl::Duration begin = ThreadCpuTime();
  absl::Duration of_other;
  std::thread other([&] {
    while (ThreadCpuTime() < absl::Milliseconds(50)) {
    }
    of_other = ThreadCpuTime();
  });
  other.join();
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_GE(of_other, absl::Milliseconds(50));
  EXPECT_LT(ThreadCpuTime() - begin, absl::Milliseconds(50));  // neither the other's time nor sleep
  const absl::Duration before_work = ThreadCpuTime();
  while (ThreadCpuTime() - before_work < absl::Milliseconds(5)) {
  }
  EXPECT_GE(ThreadCpuTime() - begin, absl::Milliseconds(5));
}

}  // namespace
}  // namespace afterimage
