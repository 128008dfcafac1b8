// Ranks that are processes, on one machine or many.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trainer/distributed/communicator.h"
#include "trainer/distributed/launch.h"

namespace afterimage::trainer {

struct ConnectOptions {
  absl::Duration rendezvous_timeout = absl::Minutes(10);
  absl::Duration rank_timeout =
      absl::Minutes(30);                    // how long a rank may keep the others waiting, beats or not
  absl::Duration lost = absl::Seconds(20);  // a rank without a sign of life
  std::function<void(const std::string&)> message;  // who is awaited, now and then; from the calling thread
};

// Meets the other ranks and connects with them: c10d's collectives, watched over by signs of life. A stop
// that one rank is asked for (core/base/stop_signal.h) is asked for on all of them. With one rank:
// SelfCommunicator.
//
// Errors of MeetRanks; ResourceExhausted: the port of rank 0 is taken; DeadlineExceeded: nobody listens at
// the rendezvous.
absl::StatusOr<std::unique_ptr<Communicator>> ConnectRanks(const RankLaunch& launch,
                                                           const ConnectOptions& options);

}  // namespace afterimage::trainer
