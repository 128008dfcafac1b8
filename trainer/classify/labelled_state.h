// The state of a labelled run, in memory and in its folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/classify/labelled_run.h"
#include "trainer/distributed/communicator.h"
#include "trainer/optim/loss_scaler.h"
#include "trainer/optim/weight_average.h"

namespace afterimage::trainer {

// All that affects the next step but the input: its place follows from `step`. Of the loop in labelled_run.cc
// alone; `options` and `task` must outlive it.
class LabelledState {
 public:
  LabelledState(const LabelledOptions& options, const LabelledTask& task);

  // Rank 0 loads the last checkpoint of the folder, if there is one and the options say so; all ranks get its
  // state. Errors of RunLabelled.
  absl::Status GoOn(Communicator& ranks);
  Checkpoint ToCheckpoint() const;

  // Seconds of training, those before the last resume included.
  double Elapsed() const { return absl::ToDoubleSeconds(absl::Now() - start_) + elapsed_before_; }
  // What the exported file holds: the average where one is kept, rounded to the exported type; float32.
  ParameterMap ExportedParameters() const;

  absl::Status WriteConfig() const;
  // The network of ExportedParameters as <out>/<name>; returns its path.
  absl::StatusOr<std::string> WriteNetwork(const std::string& name) const;
  absl::Status WriteSummary(const LabelledSummary& summary, double images_per_second,
                            double wait_share) const;

  uint64_t step = 0;  // steps done
  std::optional<WeightAverage> average;
  Precision precision = Precision::kF32;
  std::optional<LossScaler> scaler;  // with Precision::kF16
  double warmup_ended = -1;          // seconds; with a duration only
  uint64_t evaluated_at = 0;         // steps done at the last evaluation
  uint64_t best_at = 0;              // at the best one; 0 = none yet
  uint64_t best_top1_count = 0;
  uint64_t num_test_images = 0;

 private:
  absl::Status Load();
  // `where`: for messages.
  absl::Status Adopt(Checkpoint checkpoint, const std::string& where);
  absl::Status CheckSameRun(const std::string& path, const std::string& config_before) const;

  const LabelledOptions& options_;
  const LabelledTask& task_;
  const absl::Time start_ = absl::Now();
  uint32_t num_ranks_ = 1;
  double elapsed_before_ = 0;  // seconds, in the parts that ended with a checkpoint
};

}  // namespace afterimage::trainer
