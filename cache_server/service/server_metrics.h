// What the server counts.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cache_server/service/prometheus_text.h"

namespace afterimage {

// Counters that only grow, since the server started. Thread-safe.
class ServerMetrics {
 public:
  // What an epoch stream's time goes into: with nothing to send, waiting until the client gives credit back,
  // for the store to read, or for its turn (no reader has begun; small records are collected); else waiting
  // for the socket to take a message. One at a time: they add up to a stream's length, but for building
  // messages.
  enum class EpochWait { kCredit, kStore, kSocket, kQueue };

  // A call has ended: `method` is a literal of ours.
  void CallEnded(const char* method, absl::StatusCode code, absl::Duration took);
  // Records, of any state, and the bytes of their blocks, written by a bulk call.
  // `bad` of them are missing, damaged or failed.
  void RecordsSent(uint64_t records, uint64_t bytes, uint64_t bad);
  // Of the bytes sent, those that went through memory shared with the reader.
  void BytesShared(uint64_t bytes) { bytes_shared_ += bytes; }
  uint64_t bytes_shared() const { return bytes_shared_; }
  uint64_t bytes_sent() const { return bytes_sent_; }
  void RecordsReceived(uint64_t records, uint64_t bytes);
  // What was refused because of a limit of ServiceLimits.
  enum class Limit { kStreams, kStreamsPerPeer, kCallsPerPeer };
  void Refused(Limit limit) { ++refused_[static_cast<size_t>(limit)]; }
  void Waited(EpochWait what, absl::Duration time);
  absl::Duration TotalWaited(EpochWait what) const;

  void AppendTo(PrometheusText& text) const;

 private:
  // Upper bounds of the classes of call durations, seconds; the last class has none.
  static constexpr std::array<double, 6> kBounds = {0.001, 0.01, 0.1, 1, 10, 100};
  struct Durations {
    std::array<uint64_t, kBounds.size() + 1> counts = {};
    double sum_seconds = 0;
  };

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, absl::StatusCode>, uint64_t> calls_;
  std::map<std::string, Durations> durations_;
  std::atomic<uint64_t> records_sent_ = 0, bytes_sent_ = 0, records_received_ = 0, bytes_received_ = 0,
                        bad_records_ = 0, bytes_shared_ = 0;
  std::array<std::atomic<int64_t>, 4> waited_ns_ = {};
  std::array<std::atomic<uint64_t>, 3> refused_ = {};
};

}  // namespace afterimage
