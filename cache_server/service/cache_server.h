// A running server: the services, the port, the drain.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache_server/service/call_log.h"
#include "cache_server/service/server_tls.h"
#include "cache_server/service/service_limits.h"
#include "cache_server/service/status_pages.h"
#include "cache_server/service/token_file.h"
#include "core/feature/feature_catalog.h"
#include "core/order/epoch_source.h"

namespace afterimage {

// Serves a catalog over gRPC, with grpc.health.v1 (of the whole, and of each set by its id and names) and
// reflection. Knows no storage. Thread-safe.
class CacheServer {
 public:
  struct Options {
    // "host:port" (port 0: any free one) or "unix:/path".
    std::string listen = "127.0.0.1:0";
    ServerTlsFiles tls;
    TokenFile* tokens = nullptr;  // null: nobody is asked for a token; must outlive the server
    CallLog::Options log;
    std::string http;  // where /metrics, /healthz and /readyz are served, "127.0.0.1:9090"; empty: nowhere
    DiskWatch disk;
    absl::Duration watch_interval = absl::Seconds(10);  // between looks at the sets there are
    // For one message of a transfer (TransferWatch); a worker sends what its teacher makes meanwhile.
    absl::Duration transfer_patience = absl::Minutes(10);
    // Lets everybody who reaches the port read and write: off loopback neither TLS nor tokens are wanted.
    bool insecure = false;
    ServiceLimits limits;
  };

  // Serving when it returns. `catalog` and `source` must outlive the server.
  // InvalidArgument: not an address; TLS files that are none; an address that other machines reach, without
  // TLS, tokens or `insecure`. Unavailable: the port is in use, or not ours to take.
  static absl::StatusOr<std::unique_ptr<CacheServer>> Start(FeatureCatalog* catalog, EpochSource* source,
                                                            const Options& options);
  // Drains without patience.
  ~CacheServer();

  // 0 on a unix socket.
  int port() const;
  // As clients write it: "grpc://127.0.0.1:4747" (grpcs:// with TLS), "unix:/path".
  const std::string& address() const;
  // "http://127.0.0.1:9090"; empty without it.
  const std::string& http_address() const;
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
