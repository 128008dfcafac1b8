// One epoch of MergedEpochSource.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/remote/hedge.h"
#include "client/remote/hedge_log.h"
#include "client/remote/merged_epoch_source.h"
#include "client/remote/merged_store.h"
#include "core/order/epoch_positions.h"

namespace afterimage {

class MergedEpochStream : public EpochStream {
 public:
  // `request` is checked, `description` that of its set, `manifest` that of its order.
  MergedEpochStream(std::shared_ptr<ServerGroup> servers, std::shared_ptr<ServerPace> pace,
                    std::shared_ptr<HedgeLog> hedge_log, const MergedEpochSource::Options& options,
                    const EpochRequest& request, const SetDescription& description,
                    std::shared_ptr<const Manifest> manifest);
  ~MergedEpochStream() override;

  // Opens every run.
  absl::Status Start();

  absl::StatusOr<std::optional<EpochFrame>> Next() override;
  void ReturnCredit(uint64_t bytes) override;
  void Cancel() override;

 private:
  // A run of slots of every step, or all of the explicit positions, and the server that sends it.
  struct Run {
    EpochRequest request;  // of the whole run
    SlotRange slots;       // where there are no explicit positions
    size_t server = 0;
    uint64_t generation = 0;  // of the stream: credit for an earlier one is void
    std::shared_ptr<EpochStream> stream;
    std::optional<absl::Time> silent_since;  // when what the reader still waits for, though hedged, was asked
    absl::Duration usual_wait;               // for a frame
  };
  // What Next waits for.
  struct Awaited {
    std::shared_ptr<EpochStream> stream;  // null: nothing
    uint64_t position = 0;
    size_t server = 0;
    absl::Time since;
    absl::Duration hedge_after;
  };
  // A frame whose credit is not yet returned.
  struct Owed {
    size_t run = 0;
    uint64_t generation = 0;
    uint64_t stream_cost = 0;    // as its stream counts it
    uint64_t still_to_come = 0;  // as our reader counts it
  };

  // Opens `run` at `position`, on its server or, after it and round, on another. `leave` set: not on that
  // one, unless there is none.
  absl::Status OpenRun(size_t run, uint64_t position, std::optional<size_t> leave);
  // The frame at position() from its run, replacing the server as often as it takes.
  absl::StatusOr<EpochFrame> NextFrame();
  // Next of the run's stream, under the watch. Aborted: there may be an answer of hedge_.
  absl::StatusOr<std::optional<EpochFrame>> WatchedNext(size_t run);
  // Whether another run's frames take all its credit.
  bool OthersAreHeldUp();
  absl::Status AskOthers(size_t run, EpochFrame& frame);
  void Advance();
  // At the end of a step: moves runs away from servers that are slow.
  void ReplaceSlowServers();
  uint64_t position() const { return positions_[index_]; }
  // For how long this run may keep the reader waiting before a record of it is hedged.
  absl::Duration HedgeAfter(size_t run) const;
  void Watch();  // a thread: hedges, and cancels a stream that sends nothing for too long
  // With mutex_ held: begins to read what is awaited from another server.
  void BeginHedge();
  // The frame at position(), if another server has given it. Tells and marks it.
  std::optional<EpochFrame> TakeHedged();
  void Tell(const std::string& text) const;

  const std::shared_ptr<ServerGroup> servers_;
  const std::shared_ptr<ServerPace> pace_;
  const std::shared_ptr<HedgeLog> hedge_log_;
  const MergedEpochSource::Options options_;
  const EpochRequest request_;
  const EpochPositions positions_;
  const std::shared_ptr<const Manifest> manifest_;
  MergedStore store_;
  uint64_t index_ = 0;  // of the next frame
  size_t run_ = 0;      // whose turn it is
  StallTimes waited_;   // for the frame at position(), so far
  std::optional<absl::Status> ended_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Run> runs_;  // the streams and generations under mutex_; the rest belongs to Next
  std::deque<Owed> owed_;
  bool cancelled_ = false;
  bool stopping_ = false;
  Awaited awaited_;         // inside Next
  bool impatient_ = false;  // the watch has cancelled awaited_
  std::optional<uint64_t> hedged_position_;    // that a hedge was begun for, the last one
  std::optional<uint64_t> answered_position_;  // and answered
  std::thread watch_;
  std::optional<Hedge> hedge_;  // where there are several servers; calls back
};

}  // namespace afterimage
