// Which rank this process is, by its flags and by what a launcher has put into the environment.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

struct RankFlags {
  std::optional<uint32_t> rank;
  std::optional<uint32_t> num_ranks;  // --world-size
  std::string rendezvous;             // host:port, where rank 0 listens
};

struct RankLaunch {
  uint32_t rank = 0;
  uint32_t num_ranks = 1;
  uint32_t local_rank = 0;  // among those of this machine: which GPU
  std::string host;         // of the store through which the ranks find each other
  uint16_t port = 0;
  bool store_exists = false;  // kept by the launcher; otherwise rank 0 keeps it
  std::string session;        // differs between two starts that meet at the same store
  std::string origin;         // for messages: "torchrun", "srun", "--rank"
};

// By the first of these that is there: --rank and --world-size; torchrun or plain variables (RANK,
// WORLD_SIZE, MASTER_ADDR, MASTER_PORT, LOCAL_RANK, and TORCHELASTIC_USE_AGENT_STORE=True where the agent
// keeps the store); mpirun (OMPI_COMM_WORLD_*, or PMI_* of MPICH and Intel MPI); srun (SLURM_*). The order is
// that of nesting: a torchrun inside of an srun step counts. None of them, or --world-size 1: one rank.
//
// `variable` is getenv. InvalidArgument, with both values and the remedy: half of a pair, a rank outside of
// the number of ranks, flags that contradict the variables, several machines without --rendezvous where the
// launcher does not tell an address.
absl::StatusOr<RankLaunch> FindLaunch(const RankFlags& flags,
                                      const std::function<const char*(const char* name)>& variable);

// The first host of a Slurm node list: "n[03-05,9],other" -> "n03".
std::string FirstHostOfSlurmList(absl::string_view list);

}  // namespace afterimage::trainer
