// Whether a run may go on from a checkpoint: what decides its numbers must be equal.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

// The end of an error about a checkpoint of another run.
inline constexpr char kOtherRunRemedy[] = "; give the same, another --out, or --no-resume";

// `before`: the configuration in the checkpoint, as text. DataLoss: it is no JSON object. FailedPrecondition
// names every key that differs, with both values, and what to do.
absl::Status CheckSameConfig(const std::string& before, const Json& now);

// Says on standard error that a run goes on with another number of `what` ("threads", "ranks": so a checkpoint's
// values call it; absent there: 1) than it was written with, which changes the last bits of its losses.
void WarnOfOther(const std::map<std::string, std::string>& values, const char* what, const std::string& now);

}  // namespace afterimage::trainer
