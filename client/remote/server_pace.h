// Which of several servers keeps its readers waiting.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "absl/time/time.h"

namespace afterimage {

// Of two, or of twenty: only the differences between them count, so a slow disk that all share makes none
// slow. Shared by all streams of a source, so that what one epoch has learnt the next one knows. Thread-safe.
class ServerPace {
 public:
  struct Options {
    // A server is slow when readers waited for it for more than half of such a time, and for no other a
    // quarter as long.
    absl::Duration window = absl::Seconds(2);
    absl::Duration slow_for = absl::Minutes(2);  // then it is given another chance
  };

  ServerPace(size_t num_servers, const Options& options);

  // A reader has waited for a frame of `server`.
  void Waited(size_t server, absl::Duration time);
  // Looks at the waits when a window is over. At most half of the servers are slow at any time.
  void Judge();
  bool IsSlow(size_t server) const;
  // `server`, or the first after it, and round, that is not slow; `server` when all are.
  size_t Choose(size_t server) const;

 private:
  const Options options_;
  mutable std::mutex mutex_;
  absl::Time window_begin_;
  std::vector<absl::Duration> waited_;
  std::vector<absl::Time> slow_until_;
};

}  // namespace afterimage
