// What the ranks of a labelled run agree on.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/order/stall.h"
#include "core/order/stall_rows.h"
#include "trainer/distributed/communicator.h"
#include "trainer/evaluation/classification.h"

namespace afterimage::trainer {

struct AgreedMoment {
  bool stop = false;   // some rank was asked to stop: this step is not made
  double elapsed = 0;  // seconds, by rank 0's clock
  std::vector<StallTimes> waited;  // for the batch, by rank
};

// `mine`: what became of this rank's batch; an error is then one of all ranks and names this one.
absl::StatusOr<AgreedMoment> AgreeOnMoment(Communicator& communicator, const absl::Status& mine, bool stop,
                                           double elapsed, const StallTimes& waited);

// As a stall ledger; no servers have a part in it.
std::vector<StallRow> StallRowsOf(const std::vector<StallTimes>& waited);

// The result over all images, of each rank's over its part. An error of one rank is one of all.
absl::StatusOr<ClassificationResult> MergeOverRanks(Communicator& communicator,
                                                    const absl::StatusOr<ClassificationResult>& part);

}  // namespace afterimage::trainer
