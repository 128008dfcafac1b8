// Whether a run may go on from a checkpoint: what decides its numbers must be equal.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

// The end of an error about a checkpoint of another run.
inline constexpr char kOtherRunRemedy[] = "; give the same, another --out, or --no-resume";

// `before`: the configuration in the checkpoint, as text. DataLoss: it is no JSON object. FailedPrecondition
// names every key that differs, with both values, and what to do.
absl::Status CheckSameConfig(const std::string& before, const Json& now);

}  // namespace afterimage::trainer
