// Counts the bulk streams, refuses too many of them, and ends them when the server stops.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache_server/service/server_metrics.h"

namespace afterimage {

// Thread-safe. Must outlive the passes.
class StreamGate {
 public:
  // Held by a stream while it runs.
  class Pass {
   public:
    Pass(StreamGate* gate, uint64_t id) : gate_(gate), id_(id) {}
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

    // Called (from any thread, at most once, never after ~Pass) when the server will wait no longer. Called
    // at once if that has happened.
    void OnStop(std::function<void()> callback);

   private:
    StreamGate* const gate_;
    const uint64_t id_;
  };

  // `metrics` counts refusals; must outlive this.
  StreamGate(uint32_t max_streams, ServerMetrics* metrics) : max_streams_(max_streams), metrics_(metrics) {}

  // Unavailable: draining, or max_streams are running (the limit in the text). `even_while_draining`: for a
  // worker handing in what it has.
  absl::StatusOr<std::unique_ptr<Pass>> Enter(bool even_while_draining = false);
  // Unavailable while draining.
  absl::Status CheckServing() const;

  void BeginDrain();
  // True if every stream has ended within `timeout`.
  bool WaitUntilIdle(absl::Duration timeout);
  // Calls every stream's callback.
  void StopAll();

  uint32_t num_streams() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  const uint32_t max_streams_;
  ServerMetrics* const metrics_;
  bool draining_ = false;
  bool stopped_ = false;
  uint64_t next_id_ = 0;
  std::map<uint64_t, std::function<void()>> running_;
};

// What a stream or a call is told once the server stops.
absl::Status StoppingStatus();

}  // namespace afterimage
