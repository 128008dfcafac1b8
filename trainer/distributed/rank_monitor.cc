#include "trainer/distributed/rank_monitor.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {
namespace {

std::string BeatKey(uint32_t rank) { return absl::StrCat("beat/", rank); }

std::string Seconds(absl::Duration duration) {
  return absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
}

}  // namespace

RankMonitor::RankMonitor(std::shared_ptr<RankStore> store, uint32_t rank, std::vector<RankPeer> peers,
                         Options options)
    : store_(std::move(store)),
      rank_(rank),
      peers_(std::move(peers)),
      options_(std::move(options)),
      beats_(peers_.size()),
      last_contact_(absl::Now()) {
  for (Beat& beat : beats_) beat.changed = last_contact_;
}

std::shared_ptr<RankMonitor> RankMonitor::Start(std::shared_ptr<RankStore> store, uint32_t rank,
                                                std::vector<RankPeer> peers, Options options) {
  const std::shared_ptr<RankMonitor> monitor(
      new RankMonitor(std::move(store), rank, std::move(peers), std::move(options)));
  monitor->thread_ = std::thread([monitor] {
    monitor->Work();
    std::lock_guard lock(monitor->mutex_);
    monitor->ended_ = true;
    monitor->changed_.notify_all();
  });
  return monitor;
}

void RankMonitor::Stop() {
  constexpr std::chrono::seconds kPatience(3);
  Leave(absl::UnavailableError("it ended before its work was done"));
  std::unique_lock lock(mutex_);
  if (!thread_.joinable()) return;
  ending_ = true;
  changed_.notify_all();
  const bool ended = changed_.wait_for(lock, kPatience, [&] { return ended_; });
  lock.unlock();
  ended ? thread_.join() : thread_.detach();
}

void RankMonitor::SetActivity(absl::string_view activity) {
  std::lock_guard lock(mutex_);
  activity_ = std::string(activity);
}

void RankMonitor::SetWaiting(bool waiting) {
  std::lock_guard lock(mutex_);
  waiting_ = waiting;
}

std::string RankMonitor::MyBeat() {
  Json beat = {{"n", ++count_}, {"does", activity_}, {"waits", waiting_}};
  if (options_.stopping && options_.stopping()) beat["stop"] = true;
  if (left_) {
    beat["left"] = true;
    beat["error"] = error_;
    beat["of_peer"] = error_of_peer_;
  }
  return JsonText(beat);
}

absl::Status RankMonitor::Write(const std::string& beat) { return store_->Set(BeatKey(rank_), beat); }

absl::Status RankMonitor::ReadBeats() {
  std::vector<std::string> keys;
  for (uint32_t rank = 0; rank < peers_.size(); ++rank) keys.push_back(BeatKey(rank));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto texts, store_->Get(keys));
  const absl::Time now = absl::Now();
  bool stop = false;
  {
    std::lock_guard lock(mutex_);
    last_contact_ = now;
    for (size_t rank = 0; rank < texts.size(); ++rank) {
      Beat& beat = beats_[rank];
      if (!texts[rank].has_value() || *texts[rank] == beat.text) continue;
      beat.text = *texts[rank];
      beat.changed = now;
      const Json json = Json::parse(beat.text, nullptr, /*allow_exceptions=*/false);
      if (!json.is_object()) continue;
      beat.activity = json.value("does", "");
      beat.waiting = json.value("waits", false);
      beat.left = json.value("left", false);
      beat.error = json.value("error", "");
      beat.error_of_peer = json.value("of_peer", false);
      stop = stop || (rank != rank_ && json.value("stop", false));
    }
  }
  changed_.notify_all();
  if (stop && options_.on_stop) options_.on_stop();
  return absl::OkStatus();
}

void RankMonitor::Work() {
  while (true) {
    absl::Status status;
    {
      std::lock_guard writing(write_mutex_);
      std::string beat;
      {
        std::lock_guard lock(mutex_);
        beat = MyBeat();
      }
      status = Write(beat);
    }
    if (status.ok()) status = ReadBeats();
    std::unique_lock lock(mutex_);
    if (!status.ok()) {
      store_status_ = status;
      changed_.notify_all();
      return;  // whoever kept the store has gone, and with it all that could be learnt
    }
    if (changed_.wait_for(lock, absl::ToChronoMilliseconds(options_.interval), [&] { return ending_; }))
      return;
  }
}

absl::Status RankMonitor::VerdictAfter(absl::Duration lost) const {
  const absl::Time now = absl::Now();
  std::string secondary;
  for (size_t rank = 0; rank < beats_.size(); ++rank) {
    const Beat& beat = beats_[rank];
    if (rank == rank_ || !beat.left || beat.error.empty()) continue;
    if (!beat.error_of_peer)
      return absl::UnavailableError(absl::StrCat(peers_[rank].Text(), " ended: ", beat.error));
    secondary = beat.error;
  }
  const bool store_is_there =
      store_status_.ok() && now - last_contact_ < std::max(lost, options_.lost_after_error);
  // The first that went is the cause; the others' connections broke after it.
  const Beat* oldest = nullptr;
  for (size_t rank = 0; rank < beats_.size(); ++rank) {
    const Beat& beat = beats_[rank];
    if (rank == rank_ || beat.left || now - beat.changed < lost) continue;
    if (oldest == nullptr || beat.changed < oldest->changed) oldest = &beat;
  }
  if (oldest != nullptr && store_is_there) {
    return absl::UnavailableError(
        absl::StrCat(peers_[oldest - beats_.data()].Text(), " has gone: no sign of life for ",
                     Seconds(now - oldest->changed),
                     oldest->activity.empty() ? "" : absl::StrCat("; last heard of at ", oldest->activity),
                     ". Its own output or its machine's log (out of memory?) says why; the same command goes "
                     "on from the last "
                     "checkpoint"));
  }
  if (!secondary.empty()) return absl::UnavailableError(secondary);
  if (store_is_there) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      options_.store_owner, " has gone: the store through which the ranks see each other does not answer",
      store_status_.ok() ? "" : absl::StrCat(" (", store_status_.message(), ")"),
      "; the same command goes on from the last checkpoint"));
}

absl::Status RankMonitor::Verdict() {
  std::lock_guard lock(mutex_);
  absl::Status verdict = VerdictAfter(options_.lost);
  found_fault_ = found_fault_ || !verdict.ok();
  return verdict;
}

absl::Status RankMonitor::Explain(absl::string_view text) {
  const absl::Time deadline = absl::Now() + 2 * options_.lost_after_error;
  std::unique_lock lock(mutex_);
  while (true) {
    absl::Status verdict = VerdictAfter(options_.lost_after_error);
    if (!verdict.ok()) {
      found_fault_ = true;
      return verdict;
    }
    if (absl::Now() >= deadline) break;
    changed_.wait_for(lock, std::chrono::milliseconds(200));
  }
  return absl::UnavailableError(
      absl::StrCat("the connection between the ranks broke, and all of them are there: ", text));
}

std::string RankMonitor::Awaited() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> awaited;
  for (size_t rank = 0; rank < beats_.size(); ++rank) {
    const Beat& beat = beats_[rank];
    if (rank == rank_ || beat.waiting) continue;
    const absl::Duration silent = absl::Now() - beat.changed;
    awaited.push_back(
        absl::StrCat(peers_[rank].Text(), ": ",
                     beat.left               ? "has ended"
                     : beat.activity.empty() ? "start"
                                             : beat.activity,
                     silent > 3 * options_.interval ? absl::StrCat(", silent for ", Seconds(silent)) : ""));
  }
  return awaited.empty() ? "the other ranks" : absl::StrJoin(awaited, "; ");
}

bool RankMonitor::AllOthersAreGone() const {
  for (size_t rank = 0; rank < beats_.size(); ++rank) {
    if (rank != rank_ && !beats_[rank].left && absl::Now() - beats_[rank].changed < options_.lost_after_error)
      return false;
  }
  return true;
}

void RankMonitor::Leave(const absl::Status& status) {
  {
    std::lock_guard writing(write_mutex_);
    std::string beat;
    {
      std::lock_guard lock(mutex_);
      if (left_) return;
      left_ = true;
      error_ = std::string(status.message());
      error_of_peer_ = found_fault_;
      beat = MyBeat();
    }
    if (!Write(beat).ok()) return;  // the store is gone, and with it who would read this
  }
  if (!options_.keeps_store) return;
  const absl::Time deadline = absl::Now() + options_.lost_after_error;
  while (absl::Now() < deadline && ReadBeats().ok()) {
    {
      std::lock_guard lock(mutex_);
      if (AllOthersAreGone()) return;
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
}

}  // namespace afterimage::trainer
