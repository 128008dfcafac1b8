// Ranks that are threads of one process.
#pragma once

#include <memory>
#include <vector>

#include "trainer/distributed/communicator.h"

namespace afterimage::trainer {

// The communicators of `num_ranks` ranks (at least 1), by rank, for a thread each: so that what ranks do
// together can be tried without processes and ports. Sums are taken in the order of the ranks. A rank that
// leaves with an error, or whose communicator goes before it has left, ends the others' waits.
std::vector<std::unique_ptr<Communicator>> InMemoryCommunicators(uint32_t num_ranks);

}  // namespace afterimage::trainer
