// The checkpoints of a run: written beside training, kept, and removed.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/run/message_box.h"

namespace afterimage::trainer {

// In a run's folder:
//   checkpoint-<step>.safetensors        the last `keep`
//   best.safetensors                     the best one so far
//   kept/checkpoint-<step>.safetensors   what is kept for good
// The last two are further names (hard links) of files of the first kind, or copies where the file system has
// none. A thread of its own writes from copies of the tensors: the training loop waits for memory, not for
// the disk. Nothing is ever half-written (WriteCheckpoint). A state that cannot be written ends nothing: the
// message box is told what was missing, and the next Save tries its own state.
// Save and Finish belong to one thread.
class CheckpointKeeper {
 public:
  struct Options {
    std::string folder;
    int keep = 2;
    MessageBox* messages = nullptr;  // outlives the keeper; null = nothing is said
  };
  // Which further names a state gets.
  struct Keep {
    bool best = false;
    bool for_good = false;
  };

  // Removes what a killed run left half-written in the folder.
  explicit CheckpointKeeper(const Options& options);
  // Waits for what is under way.
  ~CheckpointKeeper();
  CheckpointKeeper(const CheckpointKeeper&) = delete;
  CheckpointKeeper& operator=(const CheckpointKeeper&) = delete;

  // For a run that goes on from the checkpoint of `step`: gives it the names that a kill may have come
  // before.
  absl::Status Resume(uint64_t step, Keep keep);

  // Copies the tensors and returns. One state is written while one waits; a later one takes the place of the
  // waiting one unless that is to be kept for good, or is the best and the later one is not: then Save waits.
  // Error: only of the copying (no memory).
  absl::Status Save(const Checkpoint& state, Keep keep);

  // Waits until `state` is written, which is the end of the run: as Save, but tried once more if it failed.
  // Returns its path. ResourceExhausted: the disk is full; how much is wanted and free.
  absl::StatusOr<std::string> Finish(const Checkpoint& state, Keep keep);

 private:
  struct Job {
    Checkpoint state;
    Keep keep;
  };
  void Work();
  // Writes, names, removes.
  absl::Status Write(const Job& job) const;
  absl::Status GiveNames(uint64_t step, Keep keep) const;
  absl::StatusOr<Job> CopyOf(const Checkpoint& state, Keep keep);

  const Options options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Job> waiting_;
  bool writing_ = false;
  bool stopping_ = false;
  bool failing_ = false;             // since the last state that could be written
  std::optional<uint64_t> written_;  // the step of the last one
  std::vector<Checkpoint> spare_;    // memory of earlier copies
  std::thread thread_;
};

// The error of a run whose Finish failed: the last steps are lost, and what is left.
absl::Status LastStateLost(const absl::Status& why, const std::string& folder);

}  // namespace afterimage::trainer
