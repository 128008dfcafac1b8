// How often something is done in a run.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

// Every so many steps, or every so many epochs. Zero: never, or what the owner says it is.
struct StepInterval {
  uint64_t count = 0;
  bool epochs = false;

  // "500" are steps, "2epochs" epochs. InvalidArgument tells both forms.
  static absl::StatusOr<StepInterval> Parse(absl::string_view text);

  uint64_t Steps(uint64_t steps_per_epoch) const { return epochs ? count * steps_per_epoch : count; }
  // Whether it falls on the moment after `steps_done` steps.
  bool Falls(uint64_t steps_done, uint64_t steps_per_epoch) const {
    const uint64_t steps = Steps(steps_per_epoch);
    return steps > 0 && steps_done % steps == 0;
  }
};

}  // namespace afterimage::trainer
