#include "trainer/pretrain/run_folder.h"

#include <ATen/Parallel.h>

#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/same_config.h"
#include "trainer/checkpoint/shared_checkpoint.h"
#include "trainer/distributed/agreement.h"
#include "trainer/pretrain/run_config.h"

namespace afterimage::trainer {
namespace {

Json Hex(const std::vector<Digest256>& ids) {
  Json list = Json::array();
  for (const Digest256& id : ids) list.push_back(id.Hex());
  return list;
}

// Values of a checkpoint.
constexpr char kTokenKey[] = "step_token";
constexpr char kEpochKey[] = "epoch";  // BestEpoch
constexpr char kThreads[] = "threads";
constexpr char kRanks[] = "ranks";

absl::StatusOr<RunState> Load(const PretrainPlan& plan, TrainStep& train_step) {
  const std::optional<std::string> path =
      plan.options.resume ? LatestCheckpoint(plan.options.out) : std::nullopt;
  RunState state{.token = plan.start};
  if (!path.has_value()) return state;
  AFTERIMAGE_ASSIGN_OR_RETURN(Checkpoint checkpoint, ReadLatestCheckpoint(*path));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CheckSameConfig(checkpoint.values["config"], plan.config), *path));
  AFTERIMAGE_ASSIGN_OR_RETURN(const StepToken token, StepToken::Parse(checkpoint.values[kTokenKey]));
  StepToken expected = plan.start;
  expected.order = plan.input->OrderOf(token.epoch);
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CheckSameData(token, expected), *path));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(train_step.Load(checkpoint), *path));
  std::fprintf(stderr, "going on from %s\n", path->c_str());
  WarnOfOther(checkpoint.values, kThreads, absl::StrCat(at::get_num_threads()));
  WarnOfOther(checkpoint.values, kRanks, absl::StrCat(plan.slice.num_ranks));
  state.token = token;
  if (checkpoint.values.contains(kEpochKey)) {  // there was none before November 2026
    AFTERIMAGE_ASSIGN_OR_RETURN(state.epochs, BestEpoch::Parse(checkpoint.values[kEpochKey]));
  }
  return state;
}

// Gives every rank what rank 0 has.
absl::Status Share(RunState& state, TrainStep& train_step, Communicator& ranks) {
  Checkpoint shared;  // its tensors are the step's own
  train_step.Fill(shared);
  shared.values[kTokenKey] = state.token.Serialize();
  shared.values[kEpochKey] = state.epochs.Serialize();
  AFTERIMAGE_RETURN_IF_ERROR(ShareCheckpoint(shared, ranks));
  if (ranks.rank() == 0) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(state.token, StepToken::Parse(shared.values[kTokenKey]));
  AFTERIMAGE_ASSIGN_OR_RETURN(state.epochs, BestEpoch::Parse(shared.values[kEpochKey]));
  return train_step.Load(shared);
}

}  // namespace

absl::StatusOr<RunState> GoOn(const PretrainPlan& plan, TrainStep& train_step, Communicator& ranks) {
  absl::StatusOr<RunState> state = RunState{.token = plan.start};
  if (ranks.rank() == 0) state = Load(plan, train_step);
  if (ranks.num_ranks() == 1) return state;
  AFTERIMAGE_RETURN_IF_ERROR(AgreeOnStatus(ranks, state.status()));
  AFTERIMAGE_RETURN_IF_ERROR(Share(*state, train_step, ranks));
  return state;
}

Checkpoint CheckpointOf(const PretrainPlan& plan, const TrainStep& train_step, const RunState& state) {
  Checkpoint checkpoint;
  checkpoint.step = plan.StepOf(state.token);
  checkpoint.values = {{"config", plan.config.dump()},
                       {kTokenKey, state.token.Serialize()},
                       {kEpochKey, state.epochs.Serialize()},
                       {kThreads, absl::StrCat(at::get_num_threads())},
                       {kRanks, absl::StrCat(plan.slice.num_ranks)}};
  train_step.Fill(checkpoint);
  return checkpoint;
}

absl::Status WriteConfig(const PretrainPlan& plan) {
  const Json json = {
      {"recipe", plan.options.recipe},          {"config", plan.config},
      {"features", plan.input->summary()},      {"feature_id", plan.start.feature_id.Hex()},
      {"set_id", plan.start.set_id.Hex()},      {"further_set_ids", Hex(plan.start.further_set_ids)},
      {"order", plan.start.order.ToCanonical()}};
  return WriteFileAtomically(plan.options.out + "/config.json", json.dump(2) + "\n");
}

absl::Status WriteSummary(const PretrainPlan& plan, const StepToken& token, const PretrainSummary& summary) {
  const Json report = {{"config", plan.config},
                       {"features", plan.input->summary()},
                       {"feature_id", token.feature_id.Hex()},
                       {"set_id", token.set_id.Hex()},
                       {"further_set_ids", Hex(token.further_set_ids)},
                       {"order_id", token.order.Id().Hex()},
                       {"running_digest", token.running_digest.Hex()},
                       {"steps", summary.steps},
                       {"steps_per_epoch", plan.steps_per_epoch},
                       {"last_loss", summary.last_loss},
                       {"images_per_second", summary.images_per_second},
                       {"wait_share", summary.wait_share},
                       {"failed_samples", summary.num_failed},
                       {"skipped_samples", summary.num_skipped},
                       {"computed_samples", summary.num_computed},
                       {"hedges", {{"asked", summary.hedges.asked}, {"won", summary.hedges.won}}},
                       {"skipped_updates", summary.num_skipped_updates},
                       {"threads", at::get_num_threads()},
                       {"ranks", plan.slice.num_ranks},
                       {"device", plan.device.str()},
                       {"stopped", summary.stopped},
                       {"checkpoint", summary.checkpoint}};
  return WriteFileAtomically(plan.options.out + "/summary.json", report.dump(2) + "\n");
}

}  // namespace afterimage::trainer
