// What the server says of itself over HTTP.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache_server/service/http_endpoint.h"
#include "cache_server/service/server_metrics.h"
#include "cache_server/service/service_limits.h"
#include "cache_server/service/set_watch.h"
#include "cache_server/service/stream_gate.h"

namespace afterimage {

// How much room the store has left.
struct DiskWatch {
  std::function<absl::StatusOr<uint64_t>()> free_bytes;  // null: nothing is known of a disk
  uint64_t min_free_bytes = 0;                           // below it the server is not ready
};

// Makes /metrics, /healthz and /readyz. Thread-safe. The arguments must outlive it.
class StatusPages {
 public:
  StatusPages(const ServerMetrics* metrics, const SetWatch* sets, const StreamGate* gate,
              const ServiceLimits& limits, DiskWatch disk);

  // Why the server is not ready: Unavailable (draining), ResourceExhausted (disk full), DataLoss (a set is
  // damaged; the others are served all the same), or an error of the catalog.
  absl::Status CheckReady() const;
  HttpEndpoint::Pages Pages() const;

 private:
  HttpPage Metrics() const;
  HttpPage Ready() const;

  const ServerMetrics* const metrics_;
  const SetWatch* const sets_;
  const StreamGate* const gate_;
  const ServiceLimits limits_;
  const DiskWatch disk_;
  const absl::Time start_;
};

}  // namespace afterimage
