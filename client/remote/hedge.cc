#include "client/remote/hedge.h"

#include <utility>

namespace afterimage {

Hedge::~Hedge() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool Hedge::Begin(size_t server, EpochFrame frame) {
  std::lock_guard lock(mutex_);
  if (is_reading_) return false;
  is_reading_ = true;
  server_ = server;
  frame_ = std::move(frame);
  if (!thread_.joinable()) thread_ = std::thread([this] { Work(); });
  changed_.notify_all();
  return true;
}

std::optional<EpochFrame> Hedge::Take(uint64_t position) {
  std::lock_guard lock(mutex_);
  std::optional<EpochFrame> answer = std::exchange(answer_, std::nullopt);
  if (answer.has_value() && answer->position != position) answer.reset();
  return answer;
}

void Hedge::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || is_reading_; });
    if (stopping_) return;
    const size_t server = server_;
    EpochFrame frame = std::move(frame_);
    lock.unlock();
    absl::StatusOr<RecordResult> result = read_(server, frame);
    if (result.ok()) FillFrame(*std::move(result), frame);
    const bool is_answer = frame.state == RecordState::kOk || frame.state == RecordState::kFailed;
    const uint64_t position = frame.position;
    lock.lock();
    is_reading_ = false;
    if (!is_answer) continue;
    answer_ = std::move(frame);
    lock.unlock();
    answered_(position);
    lock.lock();
  }
}

}  // namespace afterimage
