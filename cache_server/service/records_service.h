// The RPCs of proto/afterimage/v1/records.proto.
#pragma once

#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>

#include "absl/status/status.h"
#include "afterimage/v1/records.pb.h"
#include "cache_server/service/call_runner.h"
#include "cache_server/service/open_sets.h"
#include "cache_server/service/service_limits.h"
#include "cache_server/service/stream_gate.h"
#include "cache_server/service/transfer_watch.h"

namespace afterimage {

// A synchronous service that writes its responses as slices instead of generated messages: registered by
// hand, since the generated base class can write messages only. Thread-safe. The arguments must outlive it.
class RecordsService final : public grpc::Service {
 public:
  RecordsService(OpenSets* sets, StreamGate* gate, TransferWatch* transfers, CallRunner* calls,
                 const ServiceLimits& limits);

 private:
  grpc::Status ReadRecords(grpc::ServerContext* context, const v1::ReadRecordsRequest* request,
                           grpc::ServerWriter<grpc::ByteBuffer>* writer);
  absl::Status Read(const v1::ReadRecordsRequest& request, grpc::ServerContext* context, BulkCounts& counts,
                    grpc::ServerWriter<grpc::ByteBuffer>* writer);

  OpenSets* const sets_;
  StreamGate* const gate_;
  TransferWatch* const transfers_;
  CallRunner* const calls_;
  const ServiceLimits limits_;
};

}  // namespace afterimage
