// Ends transfers whose other end is silent.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace grpc {
class ServerContextBase;
}

namespace afterimage {

// A synchronous handler waits for each message without an end. A client that is alive, so that keep-alives
// find nothing, and neither sends nor takes anything would hold its thread for good, of which there are few.
// Epoch streams are not for this: a trainer that evaluates for an hour takes nothing meanwhile. Thread-safe.
class TransferWatch {
 public:
  // Held by a call while it transfers.
  class Guard {
   public:
    Guard(TransferWatch* watch, grpc::ServerContextBase* context);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

    // A message came, or was taken.
    void Alive();
    // DeadlineExceeded: the call was cancelled for its silence.
    absl::Status Check() const;

   private:
    friend class TransferWatch;
    TransferWatch* const watch_;
    grpc::ServerContextBase* const context_;
    std::atomic<int64_t> alive_ns_;  // the last time
    std::atomic<bool> is_ended_ = false;
  };

  // A message may take `patience`.
  explicit TransferWatch(absl::Duration patience);
  ~TransferWatch();

 private:
  void Work();  // the thread

  const absl::Duration patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::set<Guard*> guards_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace afterimage
