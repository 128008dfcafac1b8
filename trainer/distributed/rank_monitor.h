// Signs of life between ranks: who has gone, who is awaited, who was asked to stop.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "trainer/distributed/rank_store.h"
#include "trainer/distributed/rendezvous.h"

namespace afterimage::trainer {

// A thread writes this rank's beat (a count, what it does, whether it waits for the others) into the store
// and reads those of the others. A rank whose count stands still has gone: killed, suspended, its machine or
// network away. Beats go on while a rank computes or waits. Thread-safe.
class RankMonitor {
 public:
  struct Options {
    absl::Duration interval = absl::Seconds(1);
    absl::Duration lost = absl::Seconds(20);             // without a beat: has gone
    absl::Duration lost_after_error = absl::Seconds(5);  // likewise, once a connection has broken
    bool keeps_store = false;        // this rank's process has the store: it stays until the others have read
    std::string store_owner;         // for messages, of whoever has it
    std::function<void()> on_stop;   // called from the thread once another rank was asked to stop
    std::function<bool()> stopping;  // whether this one was
  };

  // `peers` by rank.
  static std::shared_ptr<RankMonitor> Start(std::shared_ptr<RankStore> store, uint32_t rank,
                                            std::vector<RankPeer> peers, Options options);
  RankMonitor(const RankMonitor&) = delete;
  RankMonitor& operator=(const RankMonitor&) = delete;
  // Leaves with an error unless Leave was called, and ends the thread; to be called before the monitor is
  // given up. A thread that is stuck in a store that does not answer is left behind with what it needs.
  void Stop();

  void SetActivity(absl::string_view activity);
  // While this rank waits in a call for the others.
  void SetWaiting(bool waiting);

  // OK, or Unavailable with who has gone or ended with an error, as far as is known now.
  absl::Status Verdict();
  // A call has failed with this text: waits (for about twice lost_after_error) to find out whose fault it
  // was.
  absl::Status Explain(absl::string_view text);
  // The ranks that do not wait themselves, and what they do: "rank 1 (host, pid 12): step 7: input".
  std::string Awaited() const;

  // Communicator::Leave.
  void Leave(const absl::Status& status);

 private:
  struct Beat {
    std::string text;  // as read last
    absl::Time changed;
    std::string activity;
    bool waiting = false;
    bool left = false;
    std::string error;           // with which it left; empty = in good order
    bool error_of_peer = false;  // it left because of another rank
  };

  RankMonitor(std::shared_ptr<RankStore> store, uint32_t rank, std::vector<RankPeer> peers, Options options);
  void Work();
  std::string MyBeat();  // with mutex_ held
  absl::Status Write(const std::string& beat);
  absl::Status ReadBeats();
  absl::Status VerdictAfter(absl::Duration lost) const;  // with mutex_ held
  bool AllOthersAreGone() const;                         // with mutex_ held

  const std::shared_ptr<RankStore> store_;
  const uint32_t rank_;
  const std::vector<RankPeer> peers_;
  const Options options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Beat> beats_;
  uint64_t count_ = 0;
  std::string activity_ = "start";
  bool waiting_ = false;
  bool left_ = false;
  std::string error_;
  bool error_of_peer_ = false;
  bool found_fault_ = false;  // Verdict or Explain has named somebody
  absl::Status store_status_;
  absl::Time last_contact_;  // with the store
  bool ending_ = false;
  bool ended_ = false;      // the thread
  std::mutex write_mutex_;  // beats reach the store in order
  std::thread thread_;
};

}  // namespace afterimage::trainer
