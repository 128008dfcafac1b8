// The folder of a run: going on from what is there, and leaving what the next run needs.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/order/step_token.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/distributed/communicator.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/train_step.h"
#include "trainer/run/best_epoch.h"

namespace afterimage::trainer {

// Where a run stands between two steps, beside what TrainStep holds.
struct RunState {
  StepToken token;
  BestEpoch epochs;
};

// Loads the last checkpoint of the run's folder into `train_step` and returns where it stands; plan.start
// where there is none, or where the options say not to go on. Rank 0 reads it and sends it to the other
// ranks, which need not see the folder; with it all ranks begin with the same weights. Warns on stderr of
// another number of threads or ranks. FailedPrecondition: another configuration, feature id, set or order
// (both values told). DataLoss: the file is not whole; the remedy is told.
absl::StatusOr<RunState> GoOn(const PretrainPlan& plan, TrainStep& train_step, Communicator& ranks);

// The checkpoint of the steps before `state`, sharing memory with `train_step`.
Checkpoint CheckpointOf(const PretrainPlan& plan, const TrainStep& train_step, const RunState& state);

// config.json: the effective configuration, and what it is trained on. Equal runs write equal files.
absl::Status WriteConfig(const PretrainPlan& plan);

// summary.json
absl::Status WriteSummary(const PretrainPlan& plan, const StepToken& token, const PretrainSummary& summary);

}  // namespace afterimage::trainer
