// Decisions that all ranks take alike.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/identity/canonical_spec.h"
#include "trainer/distributed/communicator.h"

namespace afterimage::trainer {

// OK where every rank gives OK. Else on each rank an error: its own, or that of the lowest rank that has one,
// with that rank's code and "rank 2: " before the text.
absl::Status AgreeOnStatus(Communicator& communicator, const absl::Status& mine);

// FailedPrecondition, the same on all ranks, where an object differs between the ranks: the first rank that
// differs from rank 0, with each key that differs (those of objects inside as "outer.inner") and both values.
absl::Status AgreeOnValues(Communicator& communicator, const Json& mine);

}  // namespace afterimage::trainer
