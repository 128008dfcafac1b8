// Ranks that are threads of a test.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "trainer/distributed/in_memory_communicator.h"

namespace afterimage::trainer::testing {

// Runs `rank` with the communicator of each of `num_ranks` ranks, in a thread each, to the end of all.
inline void InRanks(uint32_t num_ranks, const std::function<void(Communicator&)>& rank) {
  auto communicators = InMemoryCommunicators(num_ranks);
  std::vector<std::thread> threads;
  for (auto& communicator : communicators) {
    threads.emplace_back([&rank, &communicator] {
      rank(*communicator);
      communicator->Leave(absl::OkStatus());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace afterimage::trainer::testing
