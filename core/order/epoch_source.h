// A stream of the records of an epoch, in order: from a folder, a server, or a live teacher.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/base/digest.h"
#include "core/feature/feature_block.h"
#include "core/feature/feature_store.h"
#include "core/identity/image_key.h"
#include "core/order/order_spec.h"
#include "core/order/stall.h"

namespace afterimage {

inline constexpr uint64_t kMaxGlobalBatch = 1 << 24;
inline constexpr uint64_t kFrameOverheadBytes = 256;  // what a frame costs besides its block

// Positions of an epoch, a run of them.
struct PositionRange {
  uint64_t begin = 0;
  uint64_t end = 0;  // exclusive

  bool operator==(const PositionRange&) const = default;
};

// What is read of an epoch: a rank's slice of some steps, or explicit positions.
struct EpochRequest {
  Digest256 set_id;
  OrderSpec order;
  uint64_t epoch = 0;
  uint64_t step_begin = 0;
  uint64_t step_end = 0;             // exclusive; 0 = to the end of the epoch
  uint64_t global_batch = 0;
  RankSlice slice;
  // Not empty: exactly these positions, whatever step they are in; ascending, none twice. Steps and slice are
  // then left as they are above.
  std::vector<PositionRange> positions;
  Selection selection;
  uint64_t credit_bytes = 32 << 20;  // bytes of frames that may be under way before the consumer returns credit
};

// One sample. Frames come in order of position, each slot of the rank's slice (or explicit position) exactly
// once.
struct EpochFrame {
  uint64_t position = 0;             // in the epoch
  uint64_t step = 0;                 // position / global_batch
  uint64_t occurrence = 0;           // of the manifest
  RecordKey key;
  uint32_t mask_index = 0;
  bool padding = false;
  RecordState state = RecordState::kMissing;
  Digest128 record_digest;           // of the stored record; zero unless kOk
  PinnedBytes block;                 // kOk
  std::string reason;                // kDamaged, kFailed
  bool computed = false;             // kOk, and not from a cache that was read: it lacked the record
  bool hedged = false;  // `server` kept it waiting, and another one was faster (MergedEpochSource)
  // What Next waited for before it gave this frame; nothing where it did not wait, or where the source cannot
  // tell. A server's frames say which of the source's servers was to send them.
  StallTimes waited;
  std::optional<uint32_t> server;

  uint64_t CostBytes() const { return block.bytes.size() + kFrameOverheadBytes; }  // what it takes off the credit
};

// Not thread-safe, but Cancel and ReturnCredit may be called from any thread.
class EpochStream {
 public:
  virtual ~EpochStream() = default;

  // Blocks for the next frame; empty at the end. Unavailable: the source has gone (the caller reopens at its position);
  // Cancelled after Cancel. After an error every call returns it.
  virtual absl::StatusOr<std::optional<EpochFrame>> Next() = 0;
  // Gives credit back for frames that have been consumed (their CostBytes). Credit bounds what is read ahead; Next itself never
  // waits for it, because the caller that could return some is inside Next. Whoever forwards frames (a server) compares what it has
  // sent with the credit before it calls Next. Implementations without flow control ignore it.
  virtual void ReturnCredit(uint64_t bytes) = 0;
  virtual void Cancel() = 0;
  // Whether nothing more can come before frames are taken: those that have come take all the credit. From any
  // thread. Only streams from a server say so.
  virtual bool IsHeldUp() const { return false; }
  // From any thread: the Next that waits, or else one of the next ones that would, returns Aborted, once; no
  // frame is lost, and Next goes on as if nothing had been. Without effect where a stream cannot do it.
  virtual void Interrupt() {}
};

// Thread-safe.
class EpochSource {
 public:
  virtual ~EpochSource() = default;

  // InvalidArgument: levels, steps, rank, positions or batch out of range (the limit in the text), credit
  // below the largest frame. FailedPrecondition: an order of another manifest, or of other occurrences, than
  // the source has (both told); a server too old for explicit positions. NotFound: no such set.
  virtual absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) = 0;
};

// The checks that every implementation makes, with `step_end` filled in unless there are explicit positions.
// `manifest` is the one the order names.
absl::StatusOr<EpochRequest> ValidateEpochRequest(const EpochRequest& request, const SetDescription& description, const Manifest& manifest);

// An upper bound of EpochFrame::CostBytes; the least credit that is accepted.
uint64_t LargestFrameBytes(const SetDescription& description, const Selection& selection);

// For implementations. Of a request that ValidateEpochRequest has returned: the frame at one of its positions
// (EpochPositions), with everything but the record.
EpochFrame FrameAt(const EpochRequest& checked, const SetDescription& description, const Manifest& manifest,
                   uint64_t position);
// Puts what a store has read into the frame. A block that does not parse is kDamaged.
void FillFrame(RecordResult result, EpochFrame& frame);

}  // namespace afterimage
