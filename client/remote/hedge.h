// A record that is read from a second server while the first one keeps its reader waiting.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "core/order/epoch_source.h"

namespace afterimage {

// Reads one record at a time, in a thread of its own that begins with the first. Thread-safe.
class Hedge {
 public:
  using Read = std::function<absl::StatusOr<RecordResult>(size_t server, const EpochFrame& frame)>;

  // Both are called from the thread, without a lock: `read` gets the record of the frame, `answered` says
  // that there is an answer for a position.
  Hedge(Read read, std::function<void(uint64_t position)> answered)
      : read_(std::move(read)), answered_(std::move(answered)) {}
  // Waits for a read under way, since nothing can end it: that of a server which hangs takes until the
  // connection notices.
  ~Hedge();

  // Begins to read what `frame` lacks, its record; false when a read is under way.
  bool Begin(size_t server, EpochFrame frame);
  // The frame of this position with its record, once. Only one whose record is OK or FAILED is an answer:
  // errors and MISSING leave the reader to the server that it waits for. An answer to another position is
  // dropped: that frame has come otherwise.
  std::optional<EpochFrame> Take(uint64_t position);

 private:
  void Work();  // the thread

  const Read read_;
  const std::function<void(uint64_t)> answered_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_reading_ = false;
  size_t server_ = 0;  // with is_reading_, as frame_
  EpochFrame frame_;
  std::optional<EpochFrame> answer_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace afterimage
