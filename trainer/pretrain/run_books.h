// What a run of pre-training leaves behind while it goes on: records, pictures, checkpoints.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/progress.h"
#include "trainer/data/training_batch.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/run_folder.h"
#include "trainer/pretrain/sample_pictures.h"
#include "trainer/pretrain/train_step.h"
#include "trainer/run/checkpoint_keeper.h"
#include "trainer/run/message_box.h"
#include "trainer/run/run_records.h"

namespace afterimage::trainer {

// Rank 0 keeps the books of all ranks; on the others every call does nothing. What people watch is worth a
// warning, never the run. Not thread-safe.
class RunBooks {
 public:
  // `state` is where the run begins. Plan, progress and messages must outlive the books. Errors of
  // RunRecords::Open and SamplePictures::Open.
  static absl::StatusOr<std::unique_ptr<RunBooks>> Open(const PretrainPlan& plan, const RunState& state,
                                                        Progress* progress, MessageBox* messages);

  void Offer(const TrainingBatch& batch);
  void Step(const StepMetrics& metrics);
  // `mean_loss` of the epoch that `step` ended.
  void EndOfEpoch(uint64_t step, uint64_t epoch, const std::string& running_digest, double mean_loss);
  // Pictures, and a checkpoint, where one falls after the step before `state`.
  absl::Status AfterStep(const RunState& state, TrainStep& train_step);

  // Writes what is left, and the last checkpoint; returns its path ("" on the other ranks).
  // ResourceExhausted: the disk is full; what is lost is told.
  absl::StatusOr<std::string> Finish(const RunState& state, const TrainStep& train_step);

 private:
  RunBooks(const PretrainPlan& plan, Progress* progress, MessageBox* messages);
  void Warn(const absl::Status& status);
  // How a checkpoint of this state is to be kept.
  CheckpointKeeper::Keep KeepOf(const RunState& state) const;

  const PretrainPlan& plan_;
  Progress* const progress_;
  MessageBox* const messages_;
  std::unique_ptr<RunRecords> records_;  // null, as the others, on all ranks but the first
  std::unique_ptr<SamplePictures> pictures_;
  std::optional<CheckpointKeeper> keeper_;
};

}  // namespace afterimage::trainer
