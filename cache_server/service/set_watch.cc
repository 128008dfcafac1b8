#include "cache_server/service/set_watch.h"

#include <utility>

namespace afterimage {

SetWatch::SetWatch(FeatureCatalog* catalog, OpenSets* sets, absl::Duration interval, Report report)
    : catalog_(catalog), open_sets_(sets), interval_(interval), report_(std::move(report)) {
  Look();
  thread_ = std::thread([this] { Work(); });
}

void SetWatch::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::vector<SetWatch::Seen> SetWatch::sets() const {
  std::lock_guard lock(mutex_);
  return sets_;
}

absl::Status SetWatch::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

void SetWatch::Work() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, absl::ToChronoMilliseconds(interval_), [&] { return stopping_; })) return;
    }
    Look();
  }
}

void SetWatch::Look() {
  const absl::StatusOr<std::vector<SetSummary>> summaries = catalog_->ListSets();
  if (!summaries.ok()) {
    std::lock_guard lock(mutex_);
    status_ = summaries.status();
    return;
  }
  std::vector<Seen> seen;
  std::map<std::string, bool> health;
  std::map<Digest256, bool> known;
  for (const SetSummary& set : *summaries) {
    const absl::Status status = open_sets_->Get(set.id, OpenMode::kRead).status();
    known[set.id] = true;
    health[set.id.Hex()] = status.ok();
    for (const std::string& name : set.aliases) health[name] = status.ok();
    seen.push_back({set.id.Hex(), set.aliases, set.num_records, set.num_failed, set.stored_bytes, status});
  }
  for (const auto& [id, was_there] : known_) {
    if (!known.contains(id)) open_sets_->Forget(id);
  }
  for (const auto& [service, was_serving] : reported_) {
    if (!health.contains(service)) report_(service, false);
  }
  for (const auto& [service, serving] : health) report_(service, serving);
  known_ = std::move(known);
  reported_ = std::move(health);
  std::lock_guard lock(mutex_);
  status_ = absl::OkStatus();
  sets_ = std::move(seen);
}

}  // namespace afterimage
