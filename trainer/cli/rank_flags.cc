#include "trainer/cli/rank_flags.h"

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "trainer/distributed/process_communicator.h"

namespace afterimage::trainer {

void AddRankFlags(CLI::App& command, RankArguments& arguments) {
  command.add_option("--rank", arguments.flags.rank, "of this process, from 0")->group(kRanksGroup);
  command
      .add_option("--world-size", arguments.flags.num_ranks,
                  "processes that make this run together; 1 = this one alone, whatever the environment says")
      ->check(CLI::PositiveNumber)
      ->group(kRanksGroup);
  command
      .add_option("--rendezvous", arguments.flags.rendezvous,
                  "HOST:PORT where rank 0 listens and the others find it; HOST is rank 0's machine")
      ->group(kRanksGroup);
  command
      .add_option("--rendezvous-timeout", arguments.rendezvous_timeout_seconds,
                  "seconds to wait for ranks that have not come")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(kRanksGroup);
  command
      .add_option("--rank-timeout", arguments.rank_timeout_seconds,
                  "seconds that a rank which is alive may keep the others waiting")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(kRanksGroup);
}

absl::StatusOr<RanksOfCommand> JoinRanks(const RankArguments& arguments, const std::string& device) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const RankLaunch launch, FindLaunch(arguments.flags, [](const char* name) {
                                return std::getenv(name);
                              }));
  ConnectOptions options;
  options.rendezvous_timeout = absl::Seconds(arguments.rendezvous_timeout_seconds);
  options.rank_timeout = absl::Seconds(arguments.rank_timeout_seconds);
  options.message = [](const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); };
  absl::StatusOr<std::unique_ptr<Communicator>> communicator = ConnectRanks(launch, options);
  if (!communicator.ok()) return WithContext(communicator.status(), absl::StrCat("rank ", launch.rank));
  RanksOfCommand ranks;
  ranks.communicator = *std::move(communicator);
  ranks.device = device == "cuda" && launch.num_ranks > 1 ? absl::StrCat("cuda:", launch.local_rank) : device;
  return ranks;
}

}  // namespace afterimage::trainer
