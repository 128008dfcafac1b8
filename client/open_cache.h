// From the text after --cache to the interfaces of core: the only file that knows both storage and remote.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/remote/remote_usage.h"
#include "client/remote/server_access.h"
#include "core/feature/feature_catalog.h"
#include "core/order/epoch_source.h"
#include "core/order/hedge_counts.h"

namespace afterimage {

struct OpenCacheOptions {
  bool create = false;  // make the folder a cache if it is none; ignored for a server
  uint64_t quota_bytes =
      0;  // of a folder: writing beyond it is ResourceExhausted; 0 = no quota; ignored for a server
  int reader_threads = 1;  // per epoch stream on a folder, beside its reader; a server has its own
  // Of a server. What is left empty comes from the environment (ServerAccess::OrEnvironment).
  ServerAccess access;
  // Of several servers: MergedEpochSource::Options::hedge_after; unset: as it is there.
  std::optional<absl::Duration> hedge_after;
  // Of several servers: which one took over from which, and why; from any thread. Unset: a line on standard error.
  std::function<void(const std::string&)> message;
};

// What an address stands for. Members are destroyed in reverse order: the source before the catalog that it
// reads.
struct OpenedCache {
  std::string address;                        // as messages should name it
  bool is_remote = false;                     // a server answers; false: an embedded store in this process
  std::vector<std::string> servers;           // addresses by EpochFrame::server; none of a folder
  std::unique_ptr<FeatureCatalog> catalog;    // never null; thread-safe
  std::unique_ptr<EpochSource> epoch_source;  // never null; thread-safe; reads what `catalog` holds
  // Of a folder: the next precompute wants these records of the set again. Null for a server: repair where the folder is.
  std::function<absl::Status(const Digest256& set_id, const std::vector<RecordKey>& keys)> mark_damaged;
  // Of a server: what its process has used so far, all clients together; of several the sums. Null for a folder, which is read in
  // this process.
  std::function<absl::StatusOr<ServerUsage>()> server_usage;
  // Of several servers: what `epoch_source` has hedged so far; must not outlive it. Null for one server and
  // for a folder.
  std::function<HedgeCounts()> hedges;
};

// Opens a cache:
//   /some/folder            the embedded store, no server involved
//   unix:/path/to/socket    afterimage-server on this machine
//   grpc://host:port        afterimage-server anywhere
//   grpcs://host:port       the same with TLS
//   grpc://a:1,b:2          several servers that hold the same sets or parts of them, for reading (or
//   grpcs://)
// NotFound: no cache in the folder (with `create`: it is made). InvalidArgument: an address of no such form,
// or one that has no use for what options.access says. Unavailable: no server answers there (of several: none
// of them). FailedPrecondition: the server, or the folder, speaks another version (both told).
absl::StatusOr<OpenedCache> OpenCache(const std::string& address, const OpenCacheOptions& options = {});

}  // namespace afterimage
