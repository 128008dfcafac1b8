// What one client may have under way at once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "cache_server/service/server_metrics.h"

namespace afterimage {

// Counts calls by peer, so that one of them leaves room for the others. Thread-safe. Must outlive the passes.
class PeerLimits {
 public:
  enum class Kind { kShortCall, kStream };

  // Held by a call while it runs.
  class Pass {
   public:
    Pass(PeerLimits* limits, std::string peer, Kind kind)
        : limits_(limits), peer_(std::move(peer)), kind_(kind) {}
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    PeerLimits* const limits_;
    const std::string peer_;
    const Kind kind_;
  };

  // 0: no limit. `metrics` counts refusals; must outlive this.
  PeerLimits(uint32_t max_calls, uint32_t max_streams, ServerMetrics* metrics)
      : max_calls_(max_calls), max_streams_(max_streams), metrics_(metrics) {}

  // ResourceExhausted (to be tried again, RetryLater in proto/wire/grpc_status.h): the peer has as many under
  // way as it may; the limit is in the text.
  absl::StatusOr<std::unique_ptr<Pass>> Enter(const std::string& peer, Kind kind);

  // Whom a call counts for: the holder of its token by name ("token workers"), where there is one; else the
  // address that it came from without the port ("ipv4:10.0.0.7"; all of a unix socket are one).
  static std::string PeerOf(const std::string& grpc_peer, const std::string& holder);

 private:
  struct Counts {
    uint32_t calls = 0;
    uint32_t streams = 0;
  };
  static uint32_t& CountOf(Counts& counts, Kind kind) {
    return kind == Kind::kStream ? counts.streams : counts.calls;
  }

  const uint32_t max_calls_;
  const uint32_t max_streams_;
  ServerMetrics* const metrics_;
  std::mutex mutex_;
  std::map<std::string, Counts> peers_;  // those with something under way
};

}  // namespace afterimage
