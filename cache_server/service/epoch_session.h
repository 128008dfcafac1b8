// One ReadEpoch call.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/status/status.h"
#include "afterimage/v1/epochs.pb.h"
#include "cache_server/service/call_runner.h"
#include "cache_server/service/message_builder.h"
#include "cache_server/service/open_sets.h"
#include "cache_server/service/server_metrics.h"
#include "cache_server/service/service_limits.h"
#include "cache_server/service/shared_region.h"
#include "cache_server/service/stream_gate.h"
#include "core/order/epoch_source.h"
#include "core/order/stall.h"

namespace afterimage {

// Two threads, since waking a third for each record costs more than the record: the handler's own takes frames
// from the EpochStream, which reads ahead, and writes messages; the other listens for credit.
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
  // Names a region to a client on this machine that asked for one; whatever fails, it goes without.
  void OfferRegion(uint64_t wanted_bytes);
  void ListenForCredit();  // a thread
  // The status that the stream ends with.
  absl::Status WriteFrames();
  // What a message holds.
  struct Content {
    uint64_t cost = 0;  // of credit
    uint64_t records = 0;
    uint64_t bytes = 0;
    uint64_t bad = 0;
    uint64_t shared_bytes = 0;
  };
  // Collects frames, as many as there are without waiting for long; none at the end.
  Content CollectMessage(MessageBuilder& message);
  // Nothing at the end (then over_ says why), and where there is no credit and `may_wait` is false. Adds what
  // was waited for to `idle`.
  std::optional<EpochFrame> TakeFrame(bool may_wait, StallTimes& idle);
  absl::Status CheckSize(const EpochFrame& frame) const;
  // Puts the frame where the client finds it: the block into the region, if there is room.
  void AddFrame(const EpochFrame& frame, MessageBuilder& message, Content& content);
  void TellIdle(const StallTimes& idle, MessageBuilder& message);
  // What the client sends after its request.
  absl::Status TakeMessage(const v1::ReadEpochRequest& message);
  void ReturnCredit(uint64_t bytes);
  // The last message; true if it was written.
  bool WriteEnd(const absl::Status& status);
  // Everything that waits, wakes; `status` is how the stream ends, unless it has ended, or been stopped, before.
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
  bool wants_region_ = false;
  std::unique_ptr<SharedRegion> region_;     // null: everything goes through the socket
  std::atomic<bool> region_mapped_ = false;  // the client has said that it reads there

  v1::EpochFrame header_;             // one for all: it keeps its memory
  std::optional<EpochFrame> held_;    // taken, but there was no room in the message before
  std::optional<absl::Status> over_;  // no frame comes any more

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t outstanding_bytes_ = 0;  // taken, credit not yet returned
  uint64_t unwritten_bytes_ = 0;    // of these, not yet given to gRPC
  bool credit_by_writing_ = false;  // the client has half-closed
  bool listener_ended_ = false;
  bool stopped_ = false;
  absl::Status stop_status_;
};

}  // namespace afterimage
