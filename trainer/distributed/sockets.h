// The little of TCP that a rendezvous needs to say what is wrong.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace afterimage::trainer {

struct BoundSocket {
  int descriptor = -1;  // the caller's
  uint16_t port = 0;
};
// Binds to the port on all addresses of this machine; 0 = a free one. ResourceExhausted: the port is taken.
absl::StatusOr<BoundSocket> BindTcp(uint16_t port);

// Whether somebody listens there. Unavailable: not now (nobody, no route, no answer in time).
// InvalidArgument: no such host.
absl::Status TryConnect(const std::string& host, uint16_t port, absl::Duration timeout);

// The address of this machine from which `host` would be reached, as a number; nothing is sent.
absl::StatusOr<std::string> AddressTowards(const std::string& host);

std::string NameOfThisMachine();

}  // namespace afterimage::trainer
