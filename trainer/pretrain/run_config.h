// What of a run's options decides its numbers.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/identity/canonical_spec.h"
#include "core/order/step_token.h"
#include "core/vit/vit.h"
#include "trainer/pretrain/pretrainer.h"

namespace afterimage::trainer {

// `lr`, or blr * batch / 256.
double LearningRate(const PretrainOptions& options);
// As asked for, or a tenth of the epochs.
double WarmupEpochs(const PretrainOptions& options);

// The student over views of this size on the teacher's grid. InvalidArgument: an unknown model (the known
// ones are listed), or sizes that do not fit.
absl::StatusOr<VitConfig> StudentConfig(const PretrainOptions& options, int64_t view_size, int64_t grid);

// All that must be equal where a run goes on: architecture, method, optimiser, schedule, seed. Not: where it
// ends, how often it saves, threads, addresses.
Json RunConfig(const PretrainOptions& options, const VitConfig& vit, size_t num_teachers);
// FailedPrecondition where features, set, order or batch differ: what, both values, and what to do.
absl::Status CheckSameData(const StepToken& before, const StepToken& now);

}  // namespace afterimage::trainer
