#include "cache_server/service/monitor_service.h"

#include "core/base/process_usage.h"

namespace afterimage {

grpc::Status MonitorService::GetUsage(grpc::ServerContext* context, const v1::GetUsageRequest*,
                                      v1::Usage* response) {
  return calls_->Run(*context, "GetUsage", Access::kRead, [&] {
    const ProcessUsage usage = OwnUsage();
    response->set_cpu_seconds(usage.cpu_seconds);
    response->set_resident_bytes(usage.resident_bytes);
    response->set_peak_resident_bytes(usage.peak_resident_bytes);
    response->set_num_threads(usage.num_threads);
    response->set_num_descriptors(usage.num_descriptors);
    const auto waited = [this](ServerMetrics::EpochWait what) {
      return absl::ToDoubleSeconds(metrics_->TotalWaited(what));
    };
    response->set_credit_wait_seconds(waited(ServerMetrics::EpochWait::kCredit));
    response->set_store_wait_seconds(waited(ServerMetrics::EpochWait::kStore));
    response->set_socket_wait_seconds(waited(ServerMetrics::EpochWait::kSocket));
    response->set_queue_wait_seconds(waited(ServerMetrics::EpochWait::kQueue));
    response->set_sent_bytes(metrics_->bytes_sent());
    response->set_shared_bytes(metrics_->bytes_shared());
    return absl::OkStatus();
  });
}

}  // namespace afterimage
