// What this thread has computed for.
#pragma once

#include "absl/time/time.h"

namespace afterimage {

// User and system time of the calling thread since it began. Unlike wall time it does not count what others do
// on the machine meanwhile; waiting is not in it either.
absl::Duration ThreadCpuTime();

}  // namespace afterimage
