#include "trainer/distributed/launch.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/digest.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

constexpr uint16_t kUsualPort = 29500;  // torchrun's
constexpr char kLocalHost[] = "127.0.0.1";

class Environment {
 public:
  explicit Environment(const std::function<const char*(const char*)>& variable) : variable_(variable) {}

  bool Has(const char* name) const { return !Text(name).empty(); }
  std::string Text(const char* name) const {
    const char* const value = variable_(name);
    return value == nullptr ? "" : value;
  }
  absl::StatusOr<std::optional<uint32_t>> Number(const char* name) const {
    const std::string text = Text(name);
    if (text.empty()) return std::nullopt;
    uint32_t value = 0;
    if (!absl::SimpleAtoi(text, &value))
      return absl::InvalidArgumentError(absl::StrCat(name, " is \"", text, "\", not a number from 0 on"));
    return value;
  }

 private:
  const std::function<const char*(const char*)>& variable_;
};

// What one launcher says. Sets nothing where it says nothing.
struct Variables {
  std::string origin;
  const char* rank;
  const char* num_ranks;
  const char* local_rank;
};

absl::StatusOr<bool> ReadVariables(const Environment& environment, const Variables& names,
                                   RankLaunch& launch) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<uint32_t> rank, environment.Number(names.rank));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<uint32_t> num_ranks, environment.Number(names.num_ranks));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<uint32_t> local, environment.Number(names.local_rank));
  if (!rank.has_value() && !num_ranks.has_value()) return false;
  if (!rank.has_value() || !num_ranks.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(rank.has_value() ? names.rank : names.num_ranks, " is set and ",
                     rank.has_value() ? names.num_ranks : names.rank,
                     " is not: set both, unset both, or give --world-size 1 for a run of one rank"));
  }
  launch.rank = *rank;
  launch.num_ranks = *num_ranks;
  launch.local_rank = local.value_or(0);
  launch.origin = names.origin;
  return true;
}

absl::Status ParseAddress(const std::string& text, RankLaunch& launch) {
  const size_t colon = text.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &port) ||
      port == 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rendezvous \"", text, "\" is no HOST:PORT with a port from 1 to 65535"));
  }
  launch.host = text.substr(0, colon);
  if (absl::string_view host = launch.host;
      absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]"))
    launch.host = std::string(host);  // IPv6
  launch.port = static_cast<uint16_t>(port);
  return absl::OkStatus();
}

// A port that all processes of one job compute alike, and other jobs most likely do not; below those that
// systems hand out by themselves.
uint16_t PortOfJob(const std::string& job) {
  if (job.empty()) return kUsualPort;
  return static_cast<uint16_t>(20000 + Xxh3_64(AsBytes(job)) % 10000);
}

// MASTER_ADDR and MASTER_PORT where they are set.
absl::Status TakeMaster(const Environment& environment, RankLaunch& launch) {
  if (environment.Has("MASTER_ADDR")) launch.host = environment.Text("MASTER_ADDR");
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<uint32_t> port, environment.Number("MASTER_PORT"));
  if (!port.has_value()) return absl::OkStatus();
  if (*port == 0 || *port > 65535)
    return absl::InvalidArgumentError(absl::StrCat("MASTER_PORT is ", *port, ", no port from 1 to 65535"));
  launch.port = static_cast<uint16_t>(*port);
  return absl::OkStatus();
}

absl::StatusOr<bool> FromTorchrun(const Environment& environment, RankLaunch& launch) {
  const bool agent = environment.Has("TORCHELASTIC_RUN_ID");
  AFTERIMAGE_ASSIGN_OR_RETURN(const bool found, ReadVariables(environment,
                                                              {agent ? "torchrun" : "RANK and WORLD_SIZE",
                                                               "RANK", "WORLD_SIZE", "LOCAL_RANK"},
                                                              launch));
  if (!found) return false;
  launch.port = kUsualPort;
  AFTERIMAGE_RETURN_IF_ERROR(TakeMaster(environment, launch));
  launch.store_exists = environment.Text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.session = absl::StrCat(environment.Text("TORCHELASTIC_RUN_ID"), "/",
                                environment.Text("TORCHELASTIC_RESTART_COUNT"));
  return true;
}

absl::StatusOr<bool> FromMpirun(const Environment& environment, RankLaunch& launch) {
  const bool open_mpi = environment.Has("OMPI_COMM_WORLD_SIZE") || environment.Has("OMPI_COMM_WORLD_RANK");
  // srun sets PMI_* as well, and tells the hosts besides.
  if (!open_mpi && environment.Has("SLURM_STEP_ID") &&
      environment.Text("PMI_RANK") == environment.Text("SLURM_PROCID")) {
    return false;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const bool found,
      open_mpi ? ReadVariables(
                     environment,
                     {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
                     launch)
               : ReadVariables(environment, {"mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"}, launch));
  if (!found) return false;
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const std::optional<uint32_t> local_size,
      environment.Number(open_mpi ? "OMPI_COMM_WORLD_LOCAL_SIZE" : "MPI_LOCALNRANKS"));
  // MPI tells no address of rank 0; on one machine none is needed.
  if (local_size == launch.num_ranks) launch.host = kLocalHost;
  std::string job;
  for (const char* name : {"OMPI_MCA_ess_base_jobid", "PMIX_NAMESPACE", "PMI_PORT", "PMI_ID"}) {
    if (job.empty()) job = environment.Text(name);
  }
  launch.port = PortOfJob(job);
  AFTERIMAGE_RETURN_IF_ERROR(TakeMaster(environment, launch));
  return true;
}

absl::StatusOr<bool> FromSrun(const Environment& environment, RankLaunch& launch) {
  // In a batch script without srun there are SLURM_NTASKS and SLURM_PROCID too, but no step of srun's.
  constexpr uint32_t kFirstSpecialStep = 0xfffffff0;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<uint32_t> step, environment.Number("SLURM_STEP_ID"));
  if (!step.has_value() || *step >= kFirstSpecialStep) return false;
  const char* const num_tasks =
      environment.Has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const bool found,
      ReadVariables(environment, {"srun", "SLURM_PROCID", num_tasks, "SLURM_LOCALID"}, launch));
  if (!found) return false;
  const std::string nodes = environment.Text("SLURM_STEP_NODELIST");
  launch.host = FirstHostOfSlurmList(nodes.empty() ? environment.Text("SLURM_JOB_NODELIST") : nodes);
  launch.port = PortOfJob(absl::StrCat(environment.Text("SLURM_JOB_ID"), ".", *step));
  AFTERIMAGE_RETURN_IF_ERROR(TakeMaster(environment, launch));
  return true;
}

absl::Status Contradiction(absl::string_view flag, uint32_t given, const RankLaunch& launch, uint32_t told) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " ", given, " contradicts ", launch.origin,
                                                 ", which says ", told,
                                                 ": leave the flag out, or unset the variables"));
}

// Lets the flags complete or replace what the environment says.
absl::Status TakeFlags(const RankFlags& flags, bool found, RankLaunch& launch) {
  if (found) {
    if (flags.rank.has_value() && *flags.rank != launch.rank)
      return Contradiction("--rank", *flags.rank, launch, launch.rank);
    if (flags.num_ranks.has_value() && *flags.num_ranks != launch.num_ranks)
      return Contradiction("--world-size", *flags.num_ranks, launch, launch.num_ranks);
  } else {
    if (flags.rank.has_value() != flags.num_ranks.has_value()) {
      return absl::InvalidArgumentError("--rank and --world-size go together: give both, or use a launcher");
    }
    launch.rank = flags.rank.value_or(0);
    launch.num_ranks = flags.num_ranks.value_or(1);
    launch.local_rank = launch.rank;
    launch.origin = "--rank and --world-size";
  }
  if (flags.rendezvous.empty()) return absl::OkStatus();
  if (launch.store_exists) {
    return absl::InvalidArgumentError(absl::StrCat("--rendezvous ", flags.rendezvous,
                                                   ": torchrun has a store of its own at ", launch.host, ":",
                                                   launch.port, "; leave the flag out"));
  }
  return ParseAddress(flags.rendezvous, launch);
}

}  // namespace

std::string FirstHostOfSlurmList(absl::string_view list) {
  std::string host;
  for (size_t i = 0; i < list.size() && list[i] != ','; ++i) {
    if (list[i] != '[') {
      host += list[i];
      continue;
    }
    // "[03-05,9]": the first number stands for all.
    const size_t end = list.find_first_of("-,]", i);
    const size_t close = list.find(']', i);
    if (end == absl::string_view::npos || close == absl::string_view::npos) break;
    absl::StrAppend(&host, list.substr(i + 1, end - i - 1));
    i = close;
  }
  return host;
}

absl::StatusOr<RankLaunch> FindLaunch(const RankFlags& flags,
                                      const std::function<const char*(const char*)>& variable) {
  RankLaunch launch;
  if (flags.num_ranks == 1u && flags.rank.value_or(0) == 0) return launch;
  const Environment environment(variable);
  bool found = false;
  for (const auto& read : {FromTorchrun, FromMpirun, FromSrun}) {
    AFTERIMAGE_ASSIGN_OR_RETURN(found, read(environment, launch));
    if (found) break;
  }
  AFTERIMAGE_RETURN_IF_ERROR(TakeFlags(flags, found, launch));
  if (launch.num_ranks == 0)
    return absl::InvalidArgumentError(absl::StrCat(launch.origin, ": the number of ranks is 0"));
  if (launch.rank >= launch.num_ranks) {
    return absl::InvalidArgumentError(absl::StrCat(launch.origin, ": there is no rank ", launch.rank, " of ",
                                                   launch.num_ranks, "; ranks count from 0"));
  }
  if (launch.num_ranks > 1 && launch.host.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(launch.origin, ": nothing says where the ", launch.num_ranks,
                     " ranks meet: give all of them --rendezvous HOST:PORT with "
                     "rank 0's host and a free port there, or set MASTER_ADDR and MASTER_PORT"));
  }
  return launch;
}

}  // namespace afterimage::trainer
