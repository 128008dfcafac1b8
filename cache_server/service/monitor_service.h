// The RPCs of proto/afterimage/v1/monitor.proto.
#pragma once

#include "afterimage/v1/monitor.grpc.pb.h"
#include "cache_server/service/call_runner.h"
#include "cache_server/service/server_metrics.h"

namespace afterimage {

// Tells what this process has used. Answers while draining too. Thread-safe. The arguments must outlive it.
class MonitorService final : public v1::Monitor::Service {
 public:
  MonitorService(CallRunner* calls, const ServerMetrics* metrics) : calls_(calls), metrics_(metrics) {}

  grpc::Status GetUsage(grpc::ServerContext* context, const v1::GetUsageRequest*,
                        v1::Usage* response) override;

 private:
  CallRunner* const calls_;
  const ServerMetrics* const metrics_;
};

}  // namespace afterimage
