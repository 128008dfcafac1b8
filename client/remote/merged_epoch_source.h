// An epoch from several servers at once.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "client/remote/server_group.h"
#include "client/remote/server_pace.h"
#include "core/order/epoch_source.h"
#include "core/order/hedge_counts.h"

namespace afterimage {

class HedgeLog;

// Divides the slots of a slice between the servers, each a run of every step, and merges what comes in order
// of position: the same frames, and the same running digest, as from one server that has all records.
//  - A server that goes away, drains, or sends nothing for `patience`, is replaced for its run by another
//  one.
//  - One that keeps the reader waiting while the others do not (ServerPace) is replaced too, for some
//  minutes.
//  - A replacement sends what is still missing of the run, by explicit positions; one that refuses those
//  begins with the step, and what comes twice is dropped.
//  - While a server keeps the reader waiting for longer than `hedge_after`, the records that it is waited for
//  are read from another one, one at a time, and the first to answer is heard. Such frames are marked, and
//  what comes of them later is dropped.
//  - A request for explicit positions is no run of slots: one server sends all of it.
//  - A record that is missing or damaged on its server is asked of the others (MergedStore).
// A frame names the server that was to send it, and its `waited` is what that stream says, with `order` for
//  - the wire's part of a wait that began when another run was held up: its frames took all its credit;
//  - frames that came twice, after a server was replaced or hedged, and the replacement;
//  - waiting in vain for a frame that another server gave;
//  - asking others for a record.
// Next ends with Unavailable when no server is left for a run: the caller opens again at its step.
// Thread-safe.
class MergedEpochSource : public EpochSource {
 public:
  struct Options {
    absl::Duration patience = absl::Seconds(20);  // for one frame
    // At least; where the other runs are waited for too, at least four times what is usual with those, so
    // that a slow network or disk that all share makes no reads twice. InfiniteDuration: never.
    absl::Duration hedge_after = absl::Milliseconds(250);
    absl::Duration hedge_message_interval = absl::Seconds(30);  // per server
    ServerPace::Options pace;
    // What was replaced by what, and why; how many records were hedged. From any thread.
    std::function<void(const std::string&)> message;
  };

  MergedEpochSource(std::shared_ptr<ServerGroup> servers, Options options);

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override;
  // Of all streams so far.
  HedgeCounts hedges() const;

 private:
  const std::shared_ptr<ServerGroup> servers_;
  const Options options_;
  const std::shared_ptr<ServerPace> pace_;  // streams may outlive the source
  const std::shared_ptr<HedgeLog> hedge_log_;
};

}  // namespace afterimage
