// One connection to one server, and what the server said about itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/remote/server_access.h"
#include "client/remote/wait_teller.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace afterimage {

// What the server advertises; requests over a limit are split or refused here already.
struct RemoteLimits {
  uint64_t max_message_bytes = 0;
  uint32_t max_keys_per_call = 0;
  uint64_t max_transfer_bytes = 0;
  uint32_t max_position_ranges = 0;  // 0: a server from before explicit positions
};

// Thread-safe. Reconnects by itself when the server comes back.
class Connection {
 public:
  struct Options {
    // A call that is not answered by then is DeadlineExceeded; what it carries has time besides
    // (kSlowestTransfer).
    absl::Duration call_timeout = absl::Seconds(60);
    // Idempotent calls are tried again for so long when the server cannot be reached; who wants to wait
    // longer asks again.
    absl::Duration retry_for = absl::Seconds(3);
    // An epoch stream that owes frames and brings none for so long is given up as Unavailable.
    absl::Duration stream_timeout = absl::Seconds(120);
    // A call that waits for so long says what it waits for, and again after as long.
    absl::Duration message_after = absl::Seconds(10);
    // Whether epochs through a unix socket ask the server for memory to be shared.
    bool shared_memory = true;
    std::function<void(const std::string&)> message;  // from any thread; unset: a line on standard error
    ServerAccess access;
  };

  // `address`: "grpc://host:port", "grpcs://host:port" (TLS) or "unix:/path". Compares versions.
  // InvalidArgument: no such address, or files of options.access that do not hold what they should.
  // Unavailable: no server answers. Unauthenticated: it wants a (better) token. FailedPrecondition: it speaks
  // another version (both told), or TLS at an address without, or none at one with.
  static absl::StatusOr<std::shared_ptr<Connection>> Open(const std::string& address, const Options& options);

  const std::string& address() const { return address_; }
  // Whether memory of the server's may be one with ours: it is behind a unix socket.
  bool may_share_memory() const;
  const Options& options() const { return options_; }
  const RemoteLimits& limits() const { return limits_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // While the result lives, a call waits for `what` ("an answer"), and that is told if it takes long.
  WaitTeller::Wait WaitFor(const std::string& what) const;

  // Every call's context goes through here once: the token, where there is one.
  void Prepare(grpc::ClientContext& context) const;

 private:
  Connection(std::string address, Options options, std::shared_ptr<grpc::Channel> channel);
  absl::Status Handshake();
  // Adds what may be wrong with the scheme of the address.
  absl::Status ExplainUnavailable(const absl::Status& status, const std::string& target) const;

  const std::string address_;
  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  RemoteLimits limits_;
  mutable WaitTeller waits_;
  mutable std::mutex token_mutex_;
  mutable std::string token_;  // as it was read last
};

}  // namespace afterimage
