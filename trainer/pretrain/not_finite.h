// What is left behind by a step that came out as NaN or infinity.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "trainer/data/training_batch.h"
#include "trainer/distributed/communicator.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/run_folder.h"
#include "trainer/pretrain/train_step.h"

namespace afterimage::trainer {

// For a step whose `what` ("loss", "norm of the gradients") is not finite, before any update; all ranks call
// it. Rank 0 writes <out>/not-finite/: the checkpoint before the step, from which the run's own command with
// another --out and --steps repeats the step alone, and samples.json with the keys of the batch, in order.
// Returns Internal: the step, some of the keys, whether the weights were finite before it, and the remedy.
absl::Status ReportNotFinite(const std::string& what, const PretrainPlan& plan, const TrainStep& train_step,
                             const RunState& state, const TrainingBatch& batch, Communicator& ranks);

}  // namespace afterimage::trainer
