// An epoch from several servers at once.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "client/remote/server_group.h"
#include "client/remote/server_pace.h"
#include "core/order/epoch_source.h"

namespace afterimage {

// Divides the slots of a slice between the servers, each a run of every step, and merges what comes in order
// of position: the same frames, and the same running digest, as from one server that has all records.
//  - A server that goes away, drains, or sends nothing for `patience`, is replaced for its run by another
//  one.
//  - One that keeps the reader waiting while the others do not (ServerPace) is replaced too, for some
//  minutes.
//  - A record that is missing or damaged on its server is asked of the others (MergedStore).
// A frame names the server that sent it, and its `waited` is what that stream says, with `order` for
//  - the wire's part of a wait that began when another run was held up: its frames took all its credit;
//  - frames that came twice, after a server was replaced, and the replacement;
//  - asking others for a record.
// Next ends with Unavailable when no server is left for a run: the caller opens again at its step.
// Thread-safe.
class MergedEpochSource : public EpochSource {
 public:
  struct Options {
    absl::Duration patience = absl::Seconds(20);  // for one frame
    ServerPace::Options pace;
    std::function<void(const std::string&)> message;  // what was replaced by what, and why; from any thread
  };

  MergedEpochSource(std::shared_ptr<ServerGroup> servers, Options options);

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override;

 private:
  const std::shared_ptr<ServerGroup> servers_;
  const Options options_;
  const std::shared_ptr<ServerPace> pace_;  // streams may outlive the source
};

}  // namespace afterimage
