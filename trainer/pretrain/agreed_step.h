// What the ranks of a run agree on before they make a step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/order/hedge_counts.h"
#include "core/order/running_digest.h"
#include "core/order/stall.h"
#include "trainer/data/training_batch.h"
#include "trainer/distributed/communicator.h"

namespace afterimage::trainer {

// Sums over the ranks.
struct AgreedStep {
  bool stop = false;         // some rank was asked to stop: this step is not made
  uint64_t num_samples = 0;  // with weight one; 0 = there is nothing to learn in this step
  uint64_t num_failed = 0;
  uint64_t num_skipped = 0;
  uint64_t num_computed = 0;
  HedgeCounts hedges;
  StepSum sum;
  std::vector<Stall> waited;  // by rank; not a sum
};

// By rank, the addresses of the servers that it reads from.
using ServersOfRanks = std::vector<std::vector<std::string>>;
absl::StatusOr<ServersOfRanks> GatherServers(Communicator& communicator,
                                             const std::vector<std::string>& mine);

// `next` is what this rank's feed gave: a batch, null (it was asked to stop), or an error, which is then an
// error of all ranks that names this one. `waited`: for it, of no other servers than `servers` says;
// `hedges`: of this rank, since the step before.
absl::StatusOr<AgreedStep> AgreeOnStep(Communicator& communicator, const ServersOfRanks& servers,
                                       const absl::StatusOr<TrainingBatch*>& next, bool stop,
                                       const Stall& waited, const HedgeCounts& hedges);

}  // namespace afterimage::trainer
