#include "client/remote/hedge_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace afterimage {

HedgeLog::HedgeLog(std::shared_ptr<ServerGroup> servers, absl::Duration interval,
                   std::function<void(const std::string&)> message)
    : servers_(std::move(servers)),
      interval_(interval),
      message_(std::move(message)),
      untold_(servers_->size()),
      told_(servers_->size(), absl::InfinitePast()) {}

HedgeLog::~HedgeLog() { Tell(/*all=*/true); }

void HedgeLog::Won(size_t server) {
  ++won_;
  {
    std::lock_guard lock(mutex_);
    ++untold_[server];
  }
  Tell(/*all=*/false);
}

void HedgeLog::TellWhatIsDue() { Tell(/*all=*/false); }

void HedgeLog::Tell(bool all) {
  std::vector<std::string> texts;
  {
    const absl::Time now = absl::Now();
    std::lock_guard lock(mutex_);
    for (size_t i = 0; i < untold_.size(); ++i) {
      if (untold_[i] == 0 || (!all && now - told_[i] < interval_)) continue;
      const uint64_t count = std::exchange(untold_[i], 0);
      texts.push_back(absl::StrCat(servers_->address(i), " keeps its reader waiting: ", count,
                                   count == 1 ? " record was" : " records were",
                                   " read from another server"));
      told_[i] = now;
    }
  }
  if (!message_) return;
  for (const std::string& text : texts) message_(text);
}

}  // namespace afterimage
