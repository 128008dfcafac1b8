#include "trainer/distributed/rendezvous.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "core/base/digest.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/base/version.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {
namespace {

// Under it, why the ranks do not belong together, for those who have not seen it themselves.
constexpr char kRefusedKey[] = "refused";

std::string HelloKey(uint32_t rank) { return absl::StrCat("hello/", rank); }

std::string Hello(const RankLaunch& launch, const RankPeer& me) {
  return Json{{"num_ranks", launch.num_ranks}, {"origin", launch.origin}, {"host", me.host}, {"pid", me.pid},
              {"address", me.address},         {"build", me.build}}
      .dump();
}

struct Arrival {
  RankPeer peer;
  uint32_t num_ranks = 0;
  std::string origin;
};

absl::StatusOr<Arrival> ParseHello(uint32_t rank, const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "what rank ", rank, " says of itself is not understood: another program at this store?"));
  }
  Arrival arrival;
  arrival.peer.rank = rank;
  arrival.peer.host = json.value("host", "");
  arrival.peer.pid = json.value("pid", int64_t{0});
  arrival.peer.address = json.value("address", "");
  arrival.peer.build = json.value("build", "");
  arrival.num_ranks = json.value("num_ranks", 0u);
  arrival.origin = json.value("origin", "");
  return arrival;
}

absl::Status CheckBelongsTogether(const RankLaunch& launch, const RankPeer& me, const Arrival& other) {
  if (other.num_ranks != launch.num_ranks) {
    return absl::FailedPreconditionError(
        absl::StrCat(other.peer.Text(), " is one of ", other.num_ranks, " ranks (", other.origin, "), ",
                     me.Text(), " one of ", launch.num_ranks, " ranks (", launch.origin,
                     "): start all ranks with the same number; two runs need two ports"));
  }
  if (other.peer.build != me.build) {
    return absl::FailedPreconditionError(
        absl::StrCat(other.peer.Text(), " runs another program: ", other.peer.build, ", ", me.Text(), " ",
                     me.build, ": install the same afterimage-train on every machine"));
  }
  return absl::OkStatus();
}

std::string Missing(const std::vector<std::optional<Arrival>>& arrivals) {
  std::vector<std::string> missing;
  size_t num_missing = 0;
  constexpr size_t kMost = 16;
  for (size_t rank = 0; rank < arrivals.size(); ++rank) {
    if (arrivals[rank].has_value()) continue;
    if (++num_missing <= kMost) missing.push_back(absl::StrCat(rank));
  }
  return absl::StrCat(num_missing == 1 ? "rank " : "ranks ", absl::StrJoin(missing, ", "),
                      num_missing > kMost ? absl::StrCat(" and ", num_missing - kMost, " more") : "", " of ",
                      arrivals.size());
}

}  // namespace

std::string RankPeer::Text() const { return absl::StrCat("rank ", rank, " (", host, ", pid ", pid, ")"); }

std::string ThisBuild() {
  const absl::StatusOr<std::string> program = ReadFile("/proc/self/exe");
  const std::string digest =
      program.ok() ? absl::StrCat(absl::Hex(Xxh3_64(AsBytes(*program)), absl::kZeroPad16)) : "unreadable";
  return absl::StrCat("afterimage ", Version(), ", program ", digest);
}

namespace {

absl::StatusOr<std::vector<RankPeer>> Meet(RankStore& store, const RankLaunch& launch, const RankPeer& me,
                                           const RendezvousOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t claims, store.Add(absl::StrCat("claims/", launch.rank), 1));
  if (claims > 1) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto hello, store.Get({HelloKey(launch.rank)}));
    std::string first = "another process";
    if (hello[0].has_value()) {
      AFTERIMAGE_ASSIGN_OR_RETURN(const Arrival other, ParseHello(launch.rank, *hello[0]));
      first = other.peer.Text();
    }
    return absl::FailedPreconditionError(absl::StrCat(
        me.Text(), " comes after ", first, ", which is the same rank of the same run (", launch.origin,
        "): give each process a rank of its own, and each run a port of its own"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(store.Set(HelloKey(launch.rank), Hello(launch, me)));

  std::vector<std::optional<Arrival>> arrivals(launch.num_ranks);
  size_t num_arrived = 0;
  const absl::Time begin = absl::Now();
  absl::Time last_message = begin;
  while (true) {
    std::vector<std::string> keys;
    std::vector<uint32_t> ranks;
    for (uint32_t rank = 0; rank < launch.num_ranks; ++rank) {
      if (arrivals[rank].has_value()) continue;
      keys.push_back(HelloKey(rank));
      ranks.push_back(rank);
    }
    keys.push_back(kRefusedKey);
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto hellos, store.Get(keys));
    if (hellos.back().has_value()) return absl::FailedPreconditionError(*hellos.back());
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (!hellos[i].has_value()) continue;
      AFTERIMAGE_ASSIGN_OR_RETURN(arrivals[ranks[i]], ParseHello(ranks[i], *hellos[i]));
      AFTERIMAGE_RETURN_IF_ERROR(CheckBelongsTogether(launch, me, *arrivals[ranks[i]]));
      ++num_arrived;
    }
    if (num_arrived == launch.num_ranks) break;
    const absl::Time now = absl::Now();
    if (now - begin >= options.timeout) {
      return absl::DeadlineExceededError(absl::StrCat(
          Missing(arrivals), " did not come within ", absl::FormatDuration(options.timeout), " (",
          launch.origin,
          "): were they started, with the same --rendezvous? Their own output says why they ended"));
    }
    if (options.message && now - last_message >= options.message_interval) {
      last_message = now;
      options.message(
          absl::StrCat("rank ", launch.rank, " waits for ", Missing(arrivals), " (", launch.origin, ")"));
    }
    if (WaitForStop(50)) return absl::CancelledError("stopped while waiting for the other ranks");
  }
  std::vector<RankPeer> peers;
  for (std::optional<Arrival>& arrival : arrivals) peers.push_back(std::move(arrival->peer));
  return peers;
}

}  // namespace

absl::StatusOr<std::vector<RankPeer>> MeetRanks(RankStore& store, const RankLaunch& launch,
                                                const RankPeer& me, const RendezvousOptions& options) {
  absl::StatusOr<std::vector<RankPeer>> peers = Meet(store, launch, me, options);
  if (absl::IsFailedPrecondition(peers.status()) &&
      !store.Set(kRefusedKey, std::string(peers.status().message())).ok()) {
    return peers;  // nobody is left to tell
  }
  return peers;
}

}  // namespace afterimage::trainer
