#include "client/remote/wait_teller.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace afterimage {

WaitTeller::Wait::Wait(WaitTeller& teller, std::string what)
    : teller_(teller), what_(std::move(what)), since_(absl::Now()), next_message_(since_ + teller.interval_) {
  std::lock_guard lock(teller_.mutex_);
  place_ = teller_.waits_.insert(teller_.waits_.end(), this);
  if (!teller_.thread_.joinable()) teller_.thread_ = std::thread([&teller] { teller.Work(); });
}

WaitTeller::Wait::~Wait() {
  std::lock_guard lock(teller_.mutex_);
  teller_.waits_.erase(place_);
}

WaitTeller::WaitTeller(absl::Duration interval, std::function<void(const std::string&)> message)
    : interval_(interval), message_(std::move(message)) {}

WaitTeller::~WaitTeller() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void WaitTeller::Work() {
  // No message is later than a tenth of its time.
  const absl::Duration look = std::max(interval_ / 10, absl::Milliseconds(1));
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, absl::ToChronoNanoseconds(look), [&] { return stopping_; })) {
    const absl::Time now = absl::Now();
    std::vector<std::string> texts;
    for (Wait* const wait : waits_) {
      if (now < wait->next_message_) continue;
      wait->next_message_ = now + interval_;
      texts.push_back(absl::StrCat("waiting since ",
                                   absl::FormatTime("%H:%M:%S", wait->since_, absl::LocalTimeZone()), " for ",
                                   wait->what_));
    }
    lock.unlock();
    for (const std::string& text : texts) message_(text);
    lock.lock();
  }
}

}  // namespace afterimage
