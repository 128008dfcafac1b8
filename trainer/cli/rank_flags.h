// The flags of commands that run as several ranks.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/distributed/communicator.h"
#include "trainer/distributed/launch.h"

namespace afterimage::trainer {

inline constexpr char kRanksGroup[] =
    "Ranks (docs/operations/ranks.md; torchrun, mpirun and srun are recognised)";

struct RankArguments {
  RankFlags flags;
  double rendezvous_timeout_seconds = 600;
  double rank_timeout_seconds = 1800;
};

void AddRankFlags(CLI::App& command, RankArguments& arguments);

// The other ranks of this run, by the flags and what a launcher has put into the environment; and the device
// of this rank: "cuda" becomes the GPU of its place on its machine. Errors of FindLaunch and ConnectRanks.
struct RanksOfCommand {
  std::unique_ptr<Communicator> communicator;
  std::string device;
};
absl::StatusOr<RanksOfCommand> JoinRanks(const RankArguments& arguments, const std::string& device);

}  // namespace afterimage::trainer
