// Batches from an epoch source, made ahead by a background thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/feature/feature_block.h"
#include "core/order/epoch_source.h"
#include "trainer/data/training_batch.h"

namespace afterimage::trainer {

// What becomes of a record that is MISSING or DAMAGED.
enum class MissPolicy { kFail, kSkip };

// Reads frames, decodes them straight into the rows of a batch, returns their credit, and hands the batch
// over. A source that goes away (Unavailable) is waited for, with a message now and then, and reopened at the
// same step. Next and Release belong to one thread.
class BatchFeed {
 public:
  // Where records hold no pixels: writes the rows of `patches` of the view that `block` describes, having
  // checked its digest.
  using PixelProvider =
      std::function<absl::Status(const RecordKey& key, const FeatureBlock& block,
                                 std::span<const uint16_t> patches, std::span<uint8_t> target)>;

  struct Options {
    EpochRequest request;    // epoch and step_begin: where to start; step_end is the feed's business
    uint64_t num_steps = 0;  // batches to give, over as many epochs as it takes
    BatchShape shape;
    // Where epochs differ in their masks: the order of each. Empty = request.order throughout.
    std::function<OrderSpec(uint64_t epoch)> order_of_epoch;
    MissPolicy miss = MissPolicy::kFail;
    PixelProvider pixels;                             // empty = from the records
    int num_batches = 3;                              // in rotation: one in use, one ready, one in the making
    absl::Duration first_wait = absl::Seconds(1);     // before a source that has gone is tried again; doubles
    absl::Duration longest_wait = absl::Seconds(10);  // between tries, and between messages
    std::function<void(const std::string&)> message;  // called from the feed's thread
  };

  BatchFeed(EpochSource* source, Options options);
  ~BatchFeed();
  BatchFeed(const BatchFeed&) = delete;
  BatchFeed& operator=(const BatchFeed&) = delete;

  // The next batch, valid until Release; null after `num_steps`, or when `stop` became true while none was
  // ready. The first error of the source ends the feed: with MissPolicy::kFail NotFound (MISSING) or DataLoss
  // (DAMAGED) naming the key.
  absl::StatusOr<TrainingBatch*> Next(const std::function<bool()>& stop = {});
  void Release(TrainingBatch* batch);

 private:
  struct Slot {
    TrainingBatch batch;
    bool ready = false;
    bool taken = false;
  };

  void Work();
  absl::Status FillBatch(EpochStream& stream, TrainingBatch& batch) const;
  absl::Status AddSample(const EpochFrame& frame, TrainingBatch& batch) const;
  // False when the feed is being destroyed.
  bool WaitForSource(const absl::Status& status, int tries, absl::Time since);

  EpochSource* const source_;
  const Options options_;
  const uint64_t steps_per_epoch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  uint64_t next_to_give_ = 0;
  bool stopping_ = false;
  absl::Status status_;            // of the thread, once it has ended early
  EpochStream* stream_ = nullptr;  // the thread's, to cancel
  std::thread thread_;
};

}  // namespace afterimage::trainer
