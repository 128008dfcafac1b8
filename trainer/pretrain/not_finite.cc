#include "trainer/pretrain/not_finite.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

std::string SomeOf(const std::vector<std::string>& keys) {
  constexpr size_t kMost = 8;
  const size_t shown = std::min(kMost, keys.size());
  const std::string text = absl::StrJoin(keys.begin(), keys.begin() + static_cast<ptrdiff_t>(shown), ", ");
  return keys.size() > shown ? absl::StrCat(text, " and ", keys.size() - shown, " more") : text;
}

// What to change. Records hold finite numbers only (writing others is refused): the cause is the student.
std::string Remedy(const TrainStep& train_step) {
  Checkpoint state;
  train_step.Fill(state);
  for (const auto& [name, weight] : state.weights) {
    if (at::isfinite(weight.detach()).all().item<bool>()) continue;
    return absl::StrCat("the weights were not finite before it (", name,
                        "), so that an update has gone wrong: lower --lr, or give --clip-grad");
  }
  return "the weights before it and the features are finite, so that the student has diverged: lower --lr or "
         "give "
         "--clip-grad";
}

}  // namespace

absl::Status ReportNotFinite(const std::string& what, const PretrainPlan& plan, const TrainStep& train_step,
                             const RunState& state, const TrainingBatch& batch, Communicator& ranks) {
  const StepToken& token = state.token;
  const uint64_t step = plan.StepOf(token);
  std::string mine;
  for (const RecordKey& key : batch.keys) absl::StrAppend(&mine, key.ToString(), "\n");
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> all, ranks.Gather(mine));
  if (ranks.rank() != 0) {
    return absl::InternalError(absl::StrCat("the ", what, " is not finite at step ", step,
                                            "; rank 0 says more, and keeps the step"));
  }
  const std::vector<std::string> samples = absl::StrSplit(absl::StrJoin(all, ""), '\n', absl::SkipEmpty());
  const std::string folder = plan.options.out + "/not-finite";
  const Json report = {
      {"step", step}, {"epoch", token.epoch}, {"step_of_epoch", token.next_step}, {"samples", samples}};
  AFTERIMAGE_RETURN_IF_ERROR(WriteCheckpoint(folder, CheckpointOf(plan, train_step, state)));
  AFTERIMAGE_RETURN_IF_ERROR(WriteFileAtomically(folder + "/samples.json", report.dump(2) + "\n"));
  return absl::InternalError(
      absl::StrCat("the ", what, " is not finite at step ", step, " (epoch ", token.epoch, ", step ",
                   token.next_step, " of it; samples ", SomeOf(samples), "): ", Remedy(train_step), ". ",
                   folder, " has all keys and the weights before the step; the same command with --out ",
                   folder, " --steps ", step + 1, " repeats it alone"));
}

}  // namespace afterimage::trainer
