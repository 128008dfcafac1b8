// The suite of communicators on all that there are.
#include <unistd.h>

#include "tests/conformance/communicator_conformance.h"
#include "trainer/distributed/in_memory_communicator.h"
#include "trainer/distributed/process_communicator.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/distributed/sockets.h"

namespace afterimage::trainer {
namespace {

using testing::CommunicatorConformance;
using testing::CommunicatorsUnderTest;

CommunicatorsUnderTest Self() {
  return {"Self", 1, [] { return [](uint32_t) { return std::make_unique<SelfCommunicator>(); }; }};
}

CommunicatorsUnderTest InMemory(uint32_t num_ranks) {
  return {absl::StrCat("InMemory", num_ranks), num_ranks, [num_ranks] {
            const auto all = std::make_shared<std::vector<std::unique_ptr<Communicator>>>(
                InMemoryCommunicators(num_ranks));
            return [all](uint32_t rank) { return std::move((*all)[rank]); };
          }};
}

// What processes use, here between threads: over TCP all the same.
CommunicatorsUnderTest Gloo(uint32_t num_ranks) {
  return {absl::StrCat("Gloo", num_ranks), num_ranks, [num_ranks] {
            const absl::StatusOr<BoundSocket> free_port = BindTcp(0);
            EXPECT_THAT(free_port.status(), afterimage::testing::IsOk());
            close(free_port->descriptor);
            return [num_ranks, port = free_port->port](uint32_t rank) -> std::unique_ptr<Communicator> {
              RankLaunch launch;
              launch.rank = rank;
              launch.num_ranks = num_ranks;
              launch.host = "127.0.0.1";
              launch.port = port;
              launch.origin = "the test";
              auto communicator = ConnectRanks(launch, {});
              EXPECT_THAT(communicator.status(), afterimage::testing::IsOk());
              return communicator.ok() ? *std::move(communicator) : nullptr;
            };
          }};
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance,
                         ::testing::Values(Self(), InMemory(1), InMemory(3), Gloo(2), Gloo(3)),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace afterimage::trainer
