// Reads epochs as training ranks do, without training, and measures what that takes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/open_cache.h"
#include "core/base/digest.h"
#include "core/order/epoch_source.h"
#include "core/order/hedge_counts.h"
#include "core/order/stall_rows.h"

namespace afterimage::cli {

struct EpochBenchOptions {
  std::string cache;     // an address; a server is given one connection per rank, a folder is opened once
  ServerAccess access;   // as OpenCacheOptions::access
  std::optional<absl::Duration> hedge_after;  // likewise
  // Its epoch is the first one; steps and slice are the bench's business, explicit positions are not for it.
  EpochRequest request;
  uint64_t num_epochs = 1;
  uint64_t steps = 0;      // of each epoch; 0 = all
  uint32_t num_ranks = 1;  // threads that read at once
  bool verify = false;     // every checksum of every section
  std::function<void(uint64_t records, uint64_t bytes)>
      progress;  // called by the thread that called RunEpochBench, as `message`
  // When no rank has got a record for so long, what is waited for, and again after as long.
  absl::Duration message_after = absl::Seconds(10);
  std::function<void(const std::string&)> message;
};

// D of one epoch: equal for any number of ranks, any address and any part of the records that travels.
struct EpochDigest {
  uint64_t epoch = 0;
  uint64_t steps = 0;
  Digest128 digest;
};

struct EpochBenchReport {
  uint64_t records = 0;  // of every state
  uint64_t bytes = 0;    // of feature blocks, as they came
  uint64_t missing = 0, damaged = 0, failed = 0, padding = 0;
  // Records that a server kept its reader waiting for, and another one gave; by the slow one's address.
  std::map<std::string, uint64_t> hedged;
  HedgeCounts hedges;   // of several servers, those included that came too late
  absl::Duration wall;  // of all epochs, opening them included
  // What the ranks' time went into, all ranks together: it adds up to ranks x epochs.
  absl::Duration opening;      // until the source has taken the request
  absl::Duration waiting;      // for the next frame
  absl::Duration working;      // here: digests and checksums
  // What `opening` and `waiting` were for, by rank and server; what no source explains is `decode`.
  std::vector<StallRow> stalls;
  absl::Duration first_batch;  // the longest from an epoch's start to a rank's first step in hand
  double client_cpu_seconds = 0;
  uint64_t client_peak_bytes = 0;
  // Of a server: its whole process meanwhile, what other clients do included.
  std::optional<ServerUsage>
      server;  // `process.peak_resident_bytes` is since it started, the other values are of the bench
  std::vector<EpochDigest> digests;
};

// Errors of OpenCache and of EpochSource; the first rank's error ends all. Cancelled: a stop was requested.
// InvalidArgument: the data set gives no step of this batch. DataLoss: with `verify`, a block whose bytes
// fail.
absl::StatusOr<EpochBenchReport> RunEpochBench(const EpochBenchOptions& options);

}  // namespace afterimage::cli
