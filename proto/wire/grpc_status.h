// absl::Status to grpc::Status and back: the only place that knows both.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace afterimage {

// Server side: marks a status, so that clients try again as after Unavailable.
absl::Status RetryLater(absl::Status status);

// Server side. The text is cut where it would not fit into a trailer; the status is marked as ours, so that a
// client can tell it from one that gRPC made up.
grpc::Status ToGrpcStatus(const absl::Status& status);

// Client side. A status of ours comes back as it was sent (Unavailable with `address` before the text), one
// of RetryLater as Unavailable. One of gRPC's own:
//   connection refused, lost or reset  -> Unavailable, with the address and the remedy
//   no answer before the deadline      -> DeadlineExceeded, with the address
//   a message above the limit          -> InvalidArgument, as for every request over a limit
//   unknown service or method          -> FailedPrecondition: no afterimage-server of this version answers
//   there
absl::Status FromGrpcStatus(const grpc::Status& status, absl::string_view address);

}  // namespace afterimage
