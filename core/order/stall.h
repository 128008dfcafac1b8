// What a reader of an epoch waits for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"

namespace afterimage {

// The parts of a wait for data. At every moment a wait is for one of them, so they add up to it.
enum class StallPart {
  kDisk,   // the store reads: disk, decompression, checksums; in this process or on the server
  kQueue,  // nobody reads yet: an epoch is being opened, a server is away or full, no reader thread has begun
  kCredit,  // the server has nothing to send, since this client has given it no credit
  kWire,    // sending, network, receiving, parsing
  kDecode,  // this process makes samples: decoding, views, a live teacher; and what nothing else explains
  kOrder,   // other servers have sent what they may, and it is not their turn; or what a server has sent
            // in vain: frames that came twice, records that another server was asked for
};
inline constexpr size_t kNumStallParts = 6;
const char* StallPartName(StallPart part);  // "disk", "queue", …

// Time by part.
class StallTimes {
 public:
  StallTimes() = default;
  StallTimes(StallPart part, absl::Duration time) { (*this)[part] = time; }

  absl::Duration& operator[](StallPart part) { return times_[static_cast<size_t>(part)]; }
  absl::Duration operator[](StallPart part) const { return times_[static_cast<size_t>(part)]; }
  StallTimes& operator+=(const StallTimes& other);
  absl::Duration Total() const;
  // In the same proportion, adding up to `total`. Nothing stays nothing.
  StallTimes ScaledTo(absl::Duration total) const;

 private:
  std::array<absl::Duration, kNumStallParts> times_;
};

// Time by server and part.
class Stall {
 public:
  void Add(std::optional<uint32_t> server, const StallTimes& times);
  Stall& operator+=(const Stall& other);
  absl::Duration Total() const;
  // What no server has a part in, then server 0, 1, …; as far as anything was added.
  const std::vector<StallTimes>& rows() const { return rows_; }

 private:
  std::vector<StallTimes> rows_;
};

// How a wait of `waited` for a server's message divides, when `window` had passed since the message before
// and the server says that it had nothing to send for `idle` of that (disk, queue, credit). First it is idle,
// then it sends, and the reader waits at the end of the window: so the wait is wire as far as the window is
// longer than the idle time, and what is left of it is divided as the idle time is.
StallTimes SplitServerWait(absl::Duration waited, absl::Duration window, const StallTimes& idle);

}  // namespace afterimage
