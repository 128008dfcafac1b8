// The RPCs of proto/afterimage/v1/units.proto.
#pragma once

#include "afterimage/v1/units.grpc.pb.h"
#include "cache_server/service/call_runner.h"
#include "cache_server/service/open_sets.h"
#include "cache_server/service/service_limits.h"
#include "cache_server/service/stream_gate.h"
#include "cache_server/service/transfer_watch.h"

namespace afterimage {

// Validates and hands over; PublishUnit writes blocks as they come. Thread-safe. The arguments must outlive
// it.
class UnitsService final : public v1::Units::Service {
 public:
  UnitsService(OpenSets* sets, StreamGate* gate, TransferWatch* transfers, CallRunner* calls,
               const ServiceLimits& limits)
      : sets_(sets), gate_(gate), transfers_(transfers), calls_(calls), limits_(limits) {}

  grpc::Status Claim(grpc::ServerContext* context, const v1::ClaimRequest* request,
                     v1::ClaimResponse* response) override;
  grpc::Status Renew(grpc::ServerContext* context, const v1::RenewRequest* request,
                     v1::RenewResponse* response) override;
  grpc::Status Release(grpc::ServerContext* context, const v1::ReleaseRequest* request,
                       v1::ReleaseResponse*) override;
  grpc::Status Progress(grpc::ServerContext* context, const v1::ProgressRequest* request,
                        v1::ProgressResponse* response) override;
  grpc::Status PublishUnit(grpc::ServerContext* context, grpc::ServerReader<v1::PublishUnitRequest>* reader,
                           v1::PublishReport* response) override;

 private:
  absl::Status Publish(grpc::ServerContext* context, BulkCounts& counts,
                       grpc::ServerReader<v1::PublishUnitRequest>* reader, v1::PublishReport* response);

  OpenSets* const sets_;
  StreamGate* const gate_;
  TransferWatch* const transfers_;
  CallRunner* const calls_;
  const ServiceLimits limits_;
};

}  // namespace afterimage
