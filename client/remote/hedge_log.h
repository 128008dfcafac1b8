// Counts and tells people how often a server's records were read elsewhere.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/remote/server_group.h"
#include "core/order/hedge_counts.h"

namespace afterimage {

// One message per server and interval, however many records. Shared by all streams of a source. Thread-safe.
class HedgeLog {
 public:
  // `message`: called without a lock, from any thread; may be empty.
  HedgeLog(std::shared_ptr<ServerGroup> servers, absl::Duration interval,
           std::function<void(const std::string&)> message);
  // Tells the rest.
  ~HedgeLog();

  // Another server is asked for a record.
  void Asked() { ++asked_; }
  // A reader waited for `server`, and another one was faster.
  void Won(size_t server);
  HedgeCounts counts() const { return {.asked = asked_, .won = won_}; }
  // Tells of the servers whose interval is over.
  void TellWhatIsDue();

 private:
  void Tell(bool all);

  const std::shared_ptr<ServerGroup> servers_;
  const absl::Duration interval_;
  const std::function<void(const std::string&)> message_;
  std::atomic<uint64_t> asked_ = 0;
  std::atomic<uint64_t> won_ = 0;
  std::mutex mutex_;
  std::vector<uint64_t> untold_;  // records, per server
  std::vector<absl::Time> told_;
};

}  // namespace afterimage
