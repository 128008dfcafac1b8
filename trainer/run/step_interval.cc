#include "trainer/run/step_interval.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace afterimage::trainer {

absl::StatusOr<StepInterval> StepInterval::Parse(absl::string_view text) {
  StepInterval interval;
  absl::string_view number = text;
  interval.epochs = absl::ConsumeSuffix(&number, "epochs") || absl::ConsumeSuffix(&number, "epoch");
  if (!absl::SimpleAtoi(number, &interval.count)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is no interval: 500 are steps, 2epochs are epochs"));
  }
  return interval;
}

}  // namespace afterimage::trainer
