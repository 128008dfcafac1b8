// One epoch being read by a pool of threads into an ordered ring.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/order/epoch_positions.h"
#include "core/order/epoch_reader.h"
#include "core/order/opened_epoch.h"

namespace afterimage {

// Slots of the ring are claimed in order, in runs of a few, and filled in any order; Next hands them out in order. A claim reserves the
// largest frame's cost, which shrinks to the true cost when the record has been read. Claims stop when the credit is used up, but
// never those of the slot that Next is waiting for: so no order of events can deadlock.
// Next itself reads where it would have to wait: being woken costs more than reading a record from the page cache.
class EpochReaderStream : public EpochStream {
 public:
  EpochReaderStream(OpenedEpoch epoch, const EpochReader::Options& options);
  // Cancels, and waits for the threads.
  ~EpochReaderStream() override;

  absl::StatusOr<std::optional<EpochFrame>> Next() override;
  void ReturnCredit(uint64_t bytes) override;
  void Cancel() override;

 private:
  struct Slot {
    bool ready = false;
    absl::Status status;  // of the read; an error ends the stream at this slot
    EpochFrame frame;
  };
  struct Run {
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  void ReadInBackground();
  // Waits until slots may be claimed; empty when there is nothing more to read.
  std::optional<Run> WaitAndClaim();
  // With mutex_ held and ClaimableSlots() > 0.
  Run Claim();
  // All with mutex_ held: as far as the credit goes; and window and ring; what one thread may take of them.
  uint64_t AffordableSlots() const;
  uint64_t FreeSlots() const;
  uint64_t ClaimableSlots() const { return std::min({FreeSlots(), max_run_, num_frames_ - claimed_}); }
  // Whether a thread should claim now. One that found no room sleeps until there is room for several frames,
  // lest it be woken for each. With mutex_ held.
  bool MayClaim();
  void WakeReaders();  // those that sleep, if they may claim; with mutex_ held
  void ReadRun(const Run& run);
  // Until the next frame is ready, or the stream cancelled: reads, or waits for the thread that reads it. With
  // mutex_ held, which it gives up meanwhile.
  StallTimes WaitForFrame(std::unique_lock<std::mutex>& lock);
  // False when the stream has been cancelled.
  bool FillSlot(uint64_t index, absl::Status status, EpochFrame frame);

  const OpenedEpoch epoch_;
  const EpochPositions positions_;
  const uint64_t num_frames_;
  const uint64_t largest_frame_bytes_;
  const uint64_t max_run_;    // slots claimed at once
  const uint64_t max_slots_;
  const std::function<absl::Time()> now_;

  std::mutex mutex_;
  std::condition_variable claimable_;
  std::condition_variable next_ready_;
  std::deque<Slot> ring_;            // slots delivered_ .. claimed_ - 1
  uint64_t claimed_ = 0;
  uint64_t delivered_ = 0;
  uint64_t ring_bytes_ = 0;          // reserved or read, not yet delivered
  uint64_t consumer_bytes_ = 0;      // delivered, credit not yet returned
  uint64_t num_sleeping_ = 0;        // threads inside WaitAndClaim
  bool is_full_ = false;             // a thread found no room, and there has not been enough since
  uint64_t window_bytes_;            // that ring_bytes_ stays below: how far reading runs ahead of Next
  uint64_t window_end_;              // slots that had been claimed when the window was last full
  bool consumer_waits_ = false;      // inside Next
  absl::Time read_begins_;           // of the frame that it waits for
  absl::Time read_ends_;
  bool cancelled_ = false;
  absl::Status error_;               // that Next has returned

  std::vector<std::thread> threads_;
};

}  // namespace afterimage
