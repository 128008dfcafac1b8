#include "cache_server/service/epochs_service.h"

#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/support/method_handler.h>

#include "afterimage/v1/epochs.grpc.pb.h"  // also how gRPC parses a protobuf message
#include "cache_server/service/epoch_session.h"

namespace afterimage {

EpochsService::EpochsService(EpochSource* source, OpenSets* sets, StreamGate* gate, CallRunner* calls,
                             ServerMetrics* metrics, const ServiceLimits& limits)
    : source_(source), sets_(sets), gate_(gate), calls_(calls), metrics_(metrics), limits_(limits) {
  AddMethod(new grpc::internal::RpcServiceMethod(
      "/afterimage.v1.Epochs/ReadEpoch", grpc::internal::RpcMethod::BIDI_STREAMING,
      new grpc::internal::BidiStreamingHandler<EpochsService, v1::ReadEpochRequest, grpc::ByteBuffer>(
          [](EpochsService* service, grpc::ServerContext* context,
             grpc::ServerReaderWriter<grpc::ByteBuffer, v1::ReadEpochRequest>* stream) {
            return service->calls_->RunBulk(*context, "ReadEpoch", Access::kRead, [&](BulkCounts& counts) {
              return EpochSession(service->source_, service->sets_, service->gate_, service->metrics_,
                                  &counts, service->limits_, context, stream)
                  .Run();
            });
          },
          this)));
}

}  // namespace afterimage
