// The RPCs of proto/afterimage/v1/epochs.proto.
#pragma once

#include <grpcpp/impl/service_type.h>

#include "cache_server/service/call_runner.h"
#include "cache_server/service/open_sets.h"
#include "cache_server/service/service_limits.h"
#include "cache_server/service/stream_gate.h"
#include "core/order/epoch_source.h"

namespace afterimage {

// Starts one EpochSession per ReadEpoch call. A synchronous service that writes slices instead of generated
// messages, hence registered by hand. Thread-safe. The arguments must outlive it.
class EpochsService final : public grpc::Service {
 public:
  EpochsService(EpochSource* source, OpenSets* sets, StreamGate* gate, CallRunner* calls,
                ServerMetrics* metrics, const ServiceLimits& limits);

 private:
  EpochSource* const source_;
  OpenSets* const sets_;
  StreamGate* const gate_;
  CallRunner* const calls_;
  ServerMetrics* const metrics_;
  const ServiceLimits limits_;
};

}  // namespace afterimage
