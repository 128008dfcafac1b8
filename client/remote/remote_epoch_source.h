// EpochSource over gRPC.
#pragma once

#include <memory>

#include "client/remote/connection.h"
#include "core/order/epoch_source.h"

namespace afterimage {

// The epochs of a server. Thread-safe. Streams share the connection and may outlive the source. When the
// server goes away, Next ends with Unavailable; reopening at the next step is the caller's, who knows how
// long waiting makes sense. Frames say what Next waited for (SplitServerWait of what the server says), and
// that they are of server 0.
class RemoteEpochSource : public EpochSource {
 public:
  explicit RemoteEpochSource(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override;

 private:
  const std::shared_ptr<Connection> connection_;
};

}  // namespace afterimage
