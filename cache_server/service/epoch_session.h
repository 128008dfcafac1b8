// One ReadEpoch call.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "afterimage/v1/epochs.pb.h"
#include "cache_server/service/call_runner.h"
#include "cache_server/service/message_builder.h"
#include "cache_server/service/open_sets.h"
#include "cache_server/service/server_metrics.h"
#include "cache_server/service/service_limits.h"
#include "cache_server/service/stream_gate.h"
#include "core/order/epoch_source.h"
#include "core/order/stall_meter.h"

namespace afterimage {

// Three threads: the handler's own writes messages, one takes frames from the EpochStream, one listens for
// credit. What waits to be written is bounded by the credit, so messages grow by themselves while the socket
// is busy, and nothing waits while it is not.
class EpochSession {
 public:
  using Stream = grpc::ServerReaderWriter<grpc::ByteBuffer, v1::ReadEpochRequest>;

  // The arguments must outlive the session.
  EpochSession(EpochSource* source, OpenSets* sets, StreamGate* gate, ServerMetrics* metrics,
               BulkCounts* counts, const ServiceLimits& limits, grpc::ServerContext* context, Stream* stream);

  // Serves the call to its end.
  absl::Status Run();

 private:
  absl::StatusOr<EpochRequest> ReadRequest();
  void ListenForCredit();  // a thread
  void TakeFrames();       // a thread
  absl::Status WriteFrames();
  // What a message holds.
  struct Content {
    uint64_t cost = 0;  // to be returned once it is written
    uint64_t records = 0;
    uint64_t bytes = 0;
    uint64_t bad = 0;
    StallTimes idle;  // before it, with nothing to send
  };
  // Blocks for frames to write; false at the end, with `status` why.
  bool NextMessage(MessageBuilder& message, Content& content, absl::Status& status);
  // Whether a message should go out now; with mutex_ held.
  bool HasEnough() const;
  // Waits for frames, with mutex_ held; returns why there were none.
  StallTimes WaitForFrames(std::unique_lock<std::mutex>& lock);
  void CountIdle(const StallTimes& idle);
  void ReturnCredit(uint64_t bytes);
  // The last message; true if it was written.
  bool WriteEnd(const absl::Status& status);
  // Everything that waits, wakes; `status` is how the stream ends, unless it has ended before.
  void Stop(absl::Status status);

  EpochSource* const source_;
  OpenSets* const sets_;
  StreamGate* const gate_;
  ServerMetrics* const metrics_;
  BulkCounts* const counts_;
  const ServiceLimits limits_;
  grpc::ServerContext* const context_;
  Stream* const stream_;
  std::unique_ptr<EpochStream> frames_;
  uint64_t credit_bytes_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<EpochFrame> waiting_;  // taken, not yet written
  uint64_t waiting_bytes_ = 0;
  StallMeter idle_;                 // the writer's waits, which the taker explains
  uint64_t outstanding_bytes_ = 0;  // taken, credit not yet returned
  bool credit_by_writing_ = false;  // the client has half-closed
  bool listener_ended_ = false;
  bool ended_ = false;    // no frame comes any more
  bool stopped_ = false;  // and those that wait are not wanted
  absl::Status end_;
};

}  // namespace afterimage
