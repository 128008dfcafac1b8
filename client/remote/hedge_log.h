// Tells people how often a server's records were read elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/remote/server_group.h"

namespace afterimage {

// One message per server and interval, however many records. Shared by all streams of a source. Thread-safe.
class HedgeLog {
 public:
  // `message`: called without a lock, from any thread; may be empty.
  HedgeLog(std::shared_ptr<ServerGroup> servers, absl::Duration interval,
           std::function<void(const std::string&)> message);
  // Tells the rest.
  ~HedgeLog();

  // A reader waited for `server`, and another one was faster.
  void Hedged(size_t server);
  // Tells of the servers whose interval is over.
  void TellWhatIsDue();

 private:
  void Tell(bool all);

  const std::shared_ptr<ServerGroup> servers_;
  const absl::Duration interval_;
  const std::function<void(const std::string&)> message_;
  std::mutex mutex_;
  std::vector<uint64_t> untold_;  // records, per server
  std::vector<absl::Time> told_;
};

}  // namespace afterimage
