#include "cache_server/service/stream_gate.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace afterimage {

absl::Status StoppingStatus() {
  return absl::UnavailableError("the server is stopping; try again when it is back");
}

StreamGate::Pass::~Pass() {
  std::lock_guard lock(gate_->mutex_);
  gate_->running_.erase(id_);
  if (gate_->running_.empty()) gate_->idle_.notify_all();
}

void StreamGate::Pass::OnStop(std::function<void()> callback) {
  std::lock_guard lock(gate_->mutex_);
  if (gate_->stopped_) {
    callback();
  } else {
    gate_->running_[id_] = std::move(callback);
  }
}

absl::StatusOr<std::unique_ptr<StreamGate::Pass>> StreamGate::Enter(bool even_while_draining) {
  std::lock_guard lock(mutex_);
  if (stopped_ || (draining_ && !even_while_draining)) return StoppingStatus();
  if (running_.size() >= max_streams_) {
    metrics_->Refused(ServerMetrics::Limit::kStreams);
    return absl::UnavailableError(absl::StrCat(
        "all ", max_streams_, " streams of the server are in use; try again, or raise its --max-streams"));
  }
  const uint64_t id = next_id_++;
  running_[id] = nullptr;
  return std::make_unique<Pass>(this, id);
}

absl::Status StreamGate::CheckServing() const {
  std::lock_guard lock(mutex_);
  return draining_ || stopped_ ? StoppingStatus() : absl::OkStatus();
}

void StreamGate::BeginDrain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
}

bool StreamGate::WaitUntilIdle(absl::Duration timeout) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, absl::ToChronoMilliseconds(timeout), [&] { return running_.empty(); });
}

void StreamGate::StopAll() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  stopped_ = true;
  for (auto& [id, callback] : running_) {
    if (callback != nullptr) std::exchange(callback, nullptr)();
  }
}

uint32_t StreamGate::num_streams() const {
  std::lock_guard lock(mutex_);
  return static_cast<uint32_t>(running_.size());
}

}  // namespace afterimage
