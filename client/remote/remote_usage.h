// What a server says of its own CPU and memory.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/remote/connection.h"
#include "core/base/process_usage.h"

namespace afterimage {

struct ServerUsage {
  ProcessUsage process;
  // What its epoch streams have waited for, all together: credit of their clients, the store, the socket, and
  // their turn (ServerMetrics::EpochWait).
  double credit_wait_seconds = 0;
  double store_wait_seconds = 0;
  double socket_wait_seconds = 0;
  double queue_wait_seconds = 0;
  // Bytes of records that it has sent; of these, through memory shared with a reader on its machine.
  uint64_t sent_bytes = 0;
  uint64_t shared_bytes = 0;
};

// The whole server process since it started, all clients together. Errors as every short call:
// Unavailable, DeadlineExceeded; FailedPrecondition: the server has no such call.
absl::StatusOr<ServerUsage> RemoteUsage(const Connection& connection);

}  // namespace afterimage
