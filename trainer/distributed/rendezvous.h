// How the ranks of a run find each other, and find out whether they belong together.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trainer/distributed/launch.h"
#include "trainer/distributed/rank_store.h"

namespace afterimage::trainer {

// One rank, as the others know it.
struct RankPeer {
  uint32_t rank = 0;
  std::string host;  // name of its machine
  int64_t pid = 0;
  std::string address;  // at which other machines reach it
  std::string build;    // of its program: ThisBuild

  std::string Text() const;  // "rank 2 (node07, pid 1234)"
};

// Version and digest of the program that runs: equal for equal binaries.
std::string ThisBuild();

struct RendezvousOptions {
  absl::Duration timeout = absl::Minutes(10);
  absl::Duration message_interval = absl::Seconds(10);
  std::function<void(const std::string&)> message;  // what is being waited for, now and then
};

// Tells the store that `me` (a rank of `launch`) has come, and waits for the others; returns all by rank.
// DeadlineExceeded names the ranks that did not come, and what to look at. FailedPrecondition, with both
// values: two processes that say they are the same rank, other numbers of ranks, other programs. Cancelled: a
// stop was asked for.
absl::StatusOr<std::vector<RankPeer>> MeetRanks(RankStore& store, const RankLaunch& launch,
                                                const RankPeer& me, const RendezvousOptions& options);

}  // namespace afterimage::trainer
