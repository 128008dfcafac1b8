#include "client/remote/server_pace.h"

#include <algorithm>

#include "absl/time/clock.h"

namespace afterimage {

ServerPace::ServerPace(size_t num_servers, const Options& options)
    : options_(options),
      window_begin_(absl::Now()),
      waited_(num_servers),
      slow_until_(num_servers, absl::InfinitePast()) {}

void ServerPace::Waited(size_t server, absl::Duration time) {
  std::lock_guard lock(mutex_);
  waited_[server] += time;
}

void ServerPace::Judge() {
  std::lock_guard lock(mutex_);
  const absl::Duration window = absl::Now() - window_begin_;
  if (window < options_.window) return;
  const size_t slowest = std::ranges::max_element(waited_) - waited_.begin();
  absl::Duration next;
  for (size_t i = 0; i < waited_.size(); ++i) {
    if (i != slowest) next = std::max(next, waited_[i]);
  }
  // One that stands in for others is waited for more than its neighbour: half of them are always left in use.
  const absl::Time now = absl::Now();
  const size_t num_slow = std::ranges::count_if(slow_until_, [&](absl::Time until) { return now < until; });
  if (num_slow + 1 <= waited_.size() / 2 && waited_[slowest] >= window / 2 && next <= waited_[slowest] / 4) {
    slow_until_[slowest] = now + options_.slow_for;
  }
  std::ranges::fill(waited_, absl::ZeroDuration());
  window_begin_ = absl::Now();
}

bool ServerPace::IsSlow(size_t server) const {
  std::lock_guard lock(mutex_);
  return absl::Now() < slow_until_[server];
}

size_t ServerPace::Choose(size_t server) const {
  std::lock_guard lock(mutex_);
  const absl::Time now = absl::Now();
  for (size_t i = 0; i < slow_until_.size(); ++i) {
    const size_t candidate = (server + i) % slow_until_.size();
    if (now >= slow_until_[candidate]) return candidate;
  }
  return server;
}

}  // namespace afterimage
