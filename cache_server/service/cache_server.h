// A running server: the services, the port, the drain.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache_server/service/service_limits.h"
#include "core/feature/feature_catalog.h"
#include "core/order/epoch_source.h"

namespace afterimage {

// Serves a catalog over gRPC, with grpc.health.v1 and reflection. Knows no storage. Thread-safe.
class CacheServer {
 public:
  struct Options {
    // "host:port" (port 0: any free one) or "unix:/path". Loopback unless told otherwise: nobody is
    // authenticated.
    std::string listen = "127.0.0.1:0";
    ServiceLimits limits;
  };

  // Serving when it returns. `catalog` and `source` must outlive the server.
  // InvalidArgument: not an address. Unavailable: the port is in use, or not ours to take.
  static absl::StatusOr<std::unique_ptr<CacheServer>> Start(FeatureCatalog* catalog, EpochSource* source,
                                                            const Options& options);
  // Drains without patience.
  ~CacheServer();

  // 0 on a unix socket.
  int port() const;
  // As clients write it: "grpc://127.0.0.1:4747", "unix:/path".
  const std::string& address() const;
  // Bulk streams under way.
  uint32_t num_streams() const;

  // Not ready for health checks, no new reads and claims; streams under way may finish within `timeout` and
  // are then ended with Unavailable. Returns when nothing runs any more. Once only.
  void Drain(absl::Duration timeout);

 private:
  struct Parts;
  explicit CacheServer(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace afterimage
