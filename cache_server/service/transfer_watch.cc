#include "cache_server/service/transfer_watch.h"

#include <grpcpp/server_context.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace afterimage {

TransferWatch::Guard::Guard(TransferWatch* watch, grpc::ServerContextBase* context)
    : watch_(watch), context_(context), alive_ns_(absl::GetCurrentTimeNanos()) {
  std::lock_guard lock(watch_->mutex_);
  watch_->guards_.insert(this);
}

TransferWatch::Guard::~Guard() {
  std::lock_guard lock(watch_->mutex_);
  watch_->guards_.erase(this);
}

void TransferWatch::Guard::Alive() { alive_ns_ = absl::GetCurrentTimeNanos(); }

absl::Status TransferWatch::Guard::Check() const {
  if (!is_ended_) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("the client has sent and taken nothing for ", absl::FormatDuration(watch_->patience_)));
}

TransferWatch::TransferWatch(absl::Duration patience) : patience_(patience), thread_([this] { Work(); }) {}

TransferWatch::~TransferWatch() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void TransferWatch::Work() {
  // No call is ended later than a quarter after its time.
  const absl::Duration interval = std::clamp(patience_ / 4, absl::Milliseconds(1), absl::Minutes(1));
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, absl::ToChronoNanoseconds(interval), [&] { return stopping_; })) {
    const int64_t now = absl::GetCurrentTimeNanos();
    for (Guard* const guard : guards_) {
      if (guard->is_ended_ || absl::Nanoseconds(now - guard->alive_ns_) < patience_) continue;
      guard->is_ended_ = true;
      guard->context_->TryCancel();
    }
  }
}

}  // namespace afterimage
