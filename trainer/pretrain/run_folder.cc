#include "trainer/pretrain/run_folder.h"

#include <ATen/Parallel.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/pretrain/run_config.h"

namespace afterimage::trainer {
namespace {

constexpr char kEpochKey[] = "epoch";  // of a checkpoint's values: BestEpoch

}  // namespace

absl::StatusOr<RunState> GoOn(const PretrainPlan& plan, TrainStep& train_step) {
  const std::optional<std::string> path =
      plan.options.resume ? LatestCheckpoint(plan.options.out) : std::nullopt;
  RunState state{.token = plan.start};
  if (!path.has_value()) return state;
  AFTERIMAGE_ASSIGN_OR_RETURN(Checkpoint checkpoint, ReadLatestCheckpoint(*path));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CheckSameConfig(checkpoint.values["config"], plan.config), *path));
  AFTERIMAGE_ASSIGN_OR_RETURN(const StepToken token, StepToken::Parse(checkpoint.values["step_token"]));
  StepToken expected = plan.start;
  expected.order = plan.input->OrderOf(token.epoch);
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CheckSameData(token, expected), *path));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(train_step.Load(checkpoint), *path));
  std::fprintf(stderr, "going on from %s\n", path->c_str());
  const std::string threads = absl::StrCat(at::get_num_threads());
  if (checkpoint.values["threads"] != threads) {
    std::fprintf(
        stderr,
        "warning: it was written with %s threads, this run has %s: losses will differ in the last bits\n",
        checkpoint.values["threads"].c_str(), threads.c_str());
  }
  state.token = token;
  if (checkpoint.values.contains(kEpochKey)) {  // there was none before November 2026
    AFTERIMAGE_ASSIGN_OR_RETURN(state.epochs, BestEpoch::Parse(checkpoint.values[kEpochKey]));
  }
  return state;
}

Checkpoint CheckpointOf(const PretrainPlan& plan, const TrainStep& train_step, const RunState& state) {
  Checkpoint checkpoint;
  checkpoint.step = plan.StepOf(state.token);
  checkpoint.values = {{"config", plan.config.dump()},
                       {"step_token", state.token.Serialize()},
                       {kEpochKey, state.epochs.Serialize()},
                       {"threads", absl::StrCat(at::get_num_threads())}};
  train_step.Fill(checkpoint);
  return checkpoint;
}

absl::Status WriteConfig(const PretrainPlan& plan) {
  const Json json = {{"recipe", plan.options.recipe},     {"config", plan.config},
                     {"features", plan.input->summary()}, {"feature_id", plan.start.feature_id.Hex()},
                     {"set_id", plan.start.set_id.Hex()}, {"order", plan.start.order.ToCanonical()}};
  return WriteFileAtomically(plan.options.out + "/config.json", json.dump(2) + "\n");
}

absl::Status WriteSummary(const PretrainPlan& plan, const StepToken& token, const PretrainSummary& summary) {
  const Json report = {{"config", plan.config},
                       {"features", plan.input->summary()},
                       {"feature_id", token.feature_id.Hex()},
                       {"set_id", token.set_id.Hex()},
                       {"order_id", token.order.Id().Hex()},
                       {"running_digest", token.running_digest.Hex()},
                       {"steps", summary.steps},
                       {"steps_per_epoch", plan.steps_per_epoch},
                       {"last_loss", summary.last_loss},
                       {"images_per_second", summary.images_per_second},
                       {"wait_share", summary.wait_share},
                       {"failed_samples", summary.num_failed},
                       {"skipped_samples", summary.num_skipped},
                       {"skipped_updates", summary.num_skipped_updates},
                       {"threads", at::get_num_threads()},
                       {"device", plan.device.str()},
                       {"stopped", summary.stopped},
                       {"checkpoint", summary.checkpoint}};
  return WriteFileAtomically(plan.options.out + "/summary.json", report.dump(2) + "\n");
}

}  // namespace afterimage::trainer
