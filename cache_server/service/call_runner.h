// What every call goes through before and after its own work.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "cache_server/service/call_log.h"
#include "cache_server/service/peer_limits.h"
#include "cache_server/service/server_metrics.h"
#include "cache_server/service/token_file.h"

namespace afterimage {

// What a bulk call has moved so far: for its line in the log, and for the server's counters. One thread at a
// time.
class BulkCounts {
 public:
  explicit BulkCounts(ServerMetrics* metrics) : metrics_(metrics) {}

  // `bad`: those of them that are not OK.
  void Sent(uint64_t records, uint64_t bytes, uint64_t bad) {
    Add(records, bytes);
    metrics_->RecordsSent(records, bytes, bad);
  }
  // Of the bytes sent, those that went through shared memory.
  void Shared(uint64_t bytes) {
    shared_bytes_ += bytes;
    metrics_->BytesShared(bytes);
  }
  void Received(uint64_t records, uint64_t bytes) {
    Add(records, bytes);
    metrics_->RecordsReceived(records, bytes);
  }
  uint64_t records() const { return records_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t shared_bytes() const { return shared_bytes_; }

 private:
  void Add(uint64_t records, uint64_t bytes) {
    records_ += records;
    bytes_ += bytes;
  }

  ServerMetrics* const metrics_;
  uint64_t records_ = 0;
  uint64_t bytes_ = 0;
  uint64_t shared_bytes_ = 0;
};

// Thread-safe.
class CallRunner {
 public:
  // `tokens` null: nobody is asked for one. The arguments must outlive this.
  CallRunner(TokenFile* tokens, PeerLimits* peers, ServerMetrics* metrics, CallLog* log);

  // Runs `body` if the caller may do what needs `access`, tells the client how it ended, counts and logs it.
  // `method`: a literal. The call gets a request id, which is in its log line and in the trailing metadata
  // "afterimage-request-id"; the text of an Internal error has it too. Unauthenticated: no token, or none of
  // this server's. PermissionDenied: a token of lesser access (both told). ResourceExhausted: the caller has
  // as many calls under way as one peer may.
  grpc::Status Run(grpc::ServerContextBase& context, const char* method, Access access,
                   absl::FunctionRef<absl::Status()> body);
  // The same for calls that move records.
  grpc::Status RunBulk(grpc::ServerContextBase& context, const char* method, Access access,
                       absl::FunctionRef<absl::Status(BulkCounts&)> body);

 private:
  grpc::Status RunAny(grpc::ServerContextBase& context, CallRecord& record, Access access,
                      absl::FunctionRef<absl::Status()> body);
  absl::Status RunWithinLimits(const CallRecord& record, absl::FunctionRef<absl::Status()> body);
  // `name`: of the token's holder.
  absl::Status Authorize(const grpc::ServerContextBase& context, Access needed, std::string& name) const;

  TokenFile* const tokens_;
  PeerLimits* const peers_;
  ServerMetrics* const metrics_;
  CallLog* const log_;
  const std::string id_prefix_;  // another one for each start of the server
  std::atomic<uint64_t> next_id_ = 1;
};

}  // namespace afterimage
