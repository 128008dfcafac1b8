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

#include "client/remote/merged_epoch_source.h"
#include "client/remote/merged_store.h"

namespace afterimage {

class MergedEpochStream : public EpochStream {
 public:
  // `request` is valid, `description` that of its set.
  MergedEpochStream(std::shared_ptr<ServerGroup> servers, std::shared_ptr<ServerPace> pace,
                    const MergedEpochSource::Options& options, const EpochRequest& request,
                    const SetDescription& description);
  ~MergedEpochStream() override;

  // Opens every run.
  absl::Status Start();

  absl::StatusOr<std::optional<EpochFrame>> Next() override;
  void ReturnCredit(uint64_t bytes) override;
  void Cancel() override;

 private:
  // A run of slots of every step, and the server that sends it.
  struct Run {
    EpochRequest request;  // of the slots; step_begin is where the present stream began
    SlotRange slots;
    size_t server = 0;
    uint64_t generation = 0;  // of the stream: credit for an earlier one is void
    std::shared_ptr<EpochStream> stream;
  };
  // A frame whose credit is not yet returned.
  struct Owed {
    size_t run = 0;
    uint64_t generation = 0;
    uint64_t stream_cost = 0;    // as its stream counts it
    uint64_t still_to_come = 0;  // as our reader counts it
  };

  // Opens `run` at `step`, on its server or, after it and round, on another. `leave` set: not on that one,
  // unless there is none.
  absl::Status OpenRun(size_t run, uint64_t step, std::optional<size_t> leave);
  // The frame at position_ from its run, replacing the server as often as it takes.
  absl::StatusOr<EpochFrame> NextFrame();
  // Next of the run's stream, under the watch.
  absl::StatusOr<std::optional<EpochFrame>> WatchedNext(size_t run);
  // Whether another run's frames take all its credit.
  bool OthersAreHeldUp();
  absl::Status AskOthers(size_t run, EpochFrame& frame);
  void Advance();
  // At the end of a step: moves runs away from servers that are slow.
  void ReplaceSlowServers();
  void Watch();  // a thread: cancels a stream that sends nothing for too long
  void Tell(const std::string& text) const;

  const std::shared_ptr<ServerGroup> servers_;
  const std::shared_ptr<ServerPace> pace_;
  const MergedEpochSource::Options options_;
  const EpochRequest request_;
  MergedStore store_;
  uint64_t position_ = 0;
  uint64_t step_end_ = 0;
  size_t run_ = 0;     // whose turn it is
  StallTimes waited_;  // for the frame at position_, so far
  std::optional<absl::Status> ended_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Run> runs_;  // the streams and generations under mutex_; the rest belongs to Next
  std::deque<Owed> owed_;
  bool cancelled_ = false;
  bool stopping_ = false;
  std::shared_ptr<EpochStream> awaited_;  // inside Next
  absl::Time awaited_since_;
  bool impatient_ = false;  // the watch has cancelled awaited_
  std::thread watch_;
};

}  // namespace afterimage
