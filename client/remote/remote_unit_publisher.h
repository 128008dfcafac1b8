// UnitPublisher over gRPC.
#pragma once

#include <memory>

#include "client/remote/connection.h"
#include "core/feature/unit_writer.h"

namespace afterimage {

// Hands units in to a server. Thread-safe. A writer's blocks travel as they are added, several to a message;
// what the server finds wrong with one may be told by a later Add, or by Publish. A unit whose connection is
// lost is not published (Unavailable) and must be written again.
class RemoteUnitPublisher : public UnitPublisher {
 public:
  RemoteUnitPublisher(std::shared_ptr<Connection> connection, const Digest256& set_id,
                      SetDescription description);
  ~RemoteUnitPublisher() override;

  absl::StatusOr<std::unique_ptr<UnitWriter>> Open(const UnitLease& lease) override;

 private:
  const std::shared_ptr<Connection> connection_;
  const Digest256 set_id_;
  const SetDescription description_;
};

}  // namespace afterimage
