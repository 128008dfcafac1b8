#include "client/remote/remote_usage.h"

#include "afterimage/v1/monitor.grpc.pb.h"
#include "client/remote/remote_call.h"
#include "core/base/status_macros.h"

namespace afterimage {

absl::StatusOr<ServerUsage> RemoteUsage(const Connection& connection) {
  const std::unique_ptr<v1::Monitor::Stub> stub = v1::Monitor::NewStub(connection.channel());
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const v1::Usage usage,
      CallUnary<v1::Usage>(connection, *stub, &v1::Monitor::Stub::GetUsage, v1::GetUsageRequest()));
  ServerUsage result;
  result.process = {usage.cpu_seconds(), usage.resident_bytes(), usage.peak_resident_bytes(),
                    usage.num_threads(), usage.num_descriptors()};
  result.credit_wait_seconds = usage.credit_wait_seconds();
  result.store_wait_seconds = usage.store_wait_seconds();
  result.socket_wait_seconds = usage.socket_wait_seconds();
  result.queue_wait_seconds = usage.queue_wait_seconds();
  result.sent_bytes = usage.sent_bytes();
  result.shared_bytes = usage.shared_bytes();
  return result;
}

}  // namespace afterimage
