// What the steps of a training run waited for.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/stall_report.h"
#include "core/order/hedge_counts.h"

namespace afterimage::cli {

// Which steps, both inclusive.
struct StepRange {
  uint64_t first = 0;
  uint64_t last = UINT64_MAX;
};

// Ranks make a step together: the one that waits the longest is the one that all wait for. So its ledger is
// the step's.
struct RunStalls {
  struct Rank {
    double wait_seconds = 0;
    uint64_t num_longest = 0;  // steps in which it waited, and longer than the others
  };

  uint64_t num_steps = 0;  // that are counted
  uint64_t first_step = 0, last_step = 0;
  uint64_t num_without = 0;  // steps in the range without a ledger
  StallReport report;
  HedgeCounts hedges;              // of all ranks
  std::map<uint32_t, Rank> ranks;  // that waited at all
};

// Of RUN/metrics.jsonl. The run's first step is left out, since the input starts with it, unless there is no
// other. A last line that is not whole yet is passed over. NotFound: no such folder, no metrics.jsonl in it,
// or no step in the range. FailedPrecondition: no step has a ledger. InvalidArgument: a line that is none.
absl::StatusOr<RunStalls> ReadRunStalls(const std::string& run, const StepRange& range);

// Below this share of the time nobody notices; then a run is not limited by data.
inline constexpr double kNoticedShare = 0.03;
bool LimitedByData(const RunStalls& stalls);

// One sentence, one about hedges where there were any, and one with a remedy where there is something to
// remedy.
std::string WhySlowText(const RunStalls& stalls);

}  // namespace afterimage::cli
