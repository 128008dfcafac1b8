// How every call is made that has an end: with a deadline, and again when the server could not be reached.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/remote/connection.h"

namespace afterimage {

// Makes `attempt` until it ends otherwise than Unavailable, or options().retry_for is over, with growing
// pauses. Only for idempotent calls.
absl::Status RetryWhileUnavailable(const Connection& connection,
                                   const std::function<absl::Status()>& attempt);

// What a short call's context needs: its deadline, and Connection::Prepare.
void PrepareShortCall(const Connection& connection, grpc::ClientContext& context);
// The same of a call that carries up to `bytes`: it may take as long as they do at kSlowestTransfer, besides.
void PrepareTransfer(const Connection& connection, grpc::ClientContext& context, uint64_t bytes);
inline constexpr uint64_t kSlowestTransfer = 1 << 20;  // bytes a second

// A unary call of a generated stub, e.g. CallUnary<v1::ListSetsResponse>(connection, *stub,
// &v1::Catalog::Stub::ListSets, request).
template <typename Response, typename Stub, typename Request>
absl::StatusOr<Response> CallUnary(const Connection& connection, Stub& stub,
                                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                                Response*),
                                   const Request& request);

// The status of a finished call.
absl::Status StatusOfCall(const Connection& connection, const grpc::Status& status);

template <typename Response, typename Stub, typename Request>
absl::StatusOr<Response> CallUnary(const Connection& connection, Stub& stub,
                                   grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                                Response*),
                                   const Request& request) {
  Response response;
  const WaitTeller::Wait wait = connection.WaitFor("an answer");
  absl::Status status = RetryWhileUnavailable(connection, [&] {
    grpc::ClientContext context;
    PrepareShortCall(connection, context);
    response.Clear();
    return StatusOfCall(connection, (stub.*method)(&context, request, &response));
  });
  if (!status.ok()) return status;
  return response;
}

}  // namespace afterimage
