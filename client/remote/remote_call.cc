#include "client/remote/remote_call.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "proto/wire/grpc_status.h"

namespace afterimage {
namespace {

constexpr absl::Duration kFirstPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestPause = absl::Seconds(1);

}  // namespace

absl::Status RetryWhileUnavailable(const Connection& connection,
                                   const std::function<absl::Status()>& attempt) {
  const absl::Time give_up = absl::Now() + connection.options().retry_for;
  for (absl::Duration pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    absl::Status status = attempt();
    if (!absl::IsUnavailable(status) || absl::Now() + pause > give_up) return status;
    absl::SleepFor(pause);
  }
}

void PrepareShortCall(const Connection& connection, grpc::ClientContext& context) {
  PrepareTransfer(connection, context, 0);
}

void PrepareTransfer(const Connection& connection, grpc::ClientContext& context, uint64_t bytes) {
  connection.Prepare(context);
  const absl::Duration transfer = absl::Seconds(static_cast<double>(bytes) / kSlowestTransfer);
  context.set_deadline(absl::ToChronoTime(absl::Now() + connection.options().call_timeout + transfer));
}

absl::Status StatusOfCall(const Connection& connection, const grpc::Status& status) {
  return FromGrpcStatus(status, connection.address());
}

}  // namespace afterimage
