// Batches from an epoch source, made ahead by a background thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/feature/feature_block.h"
#include "core/order/epoch_source.h"
#include "core/order/stall_meter.h"
#include "trainer/data/sample_decoder.h"
#include "trainer/data/target_decoder.h"
#include "trainer/data/training_batch.h"

namespace afterimage::trainer {

// What becomes of a record that is MISSING or DAMAGED.
enum class MissPolicy {
  kFail,     // training ends
  kSkip,     // weight zero, counted
  kWait,     // a missing record is waited for: a precompute is still running; a damaged one ends training
  kCompute,  // the source makes it (MissComputingSource), so that none comes here
};
const char* MissPolicyName(MissPolicy policy);  // "fail", "skip", "wait", "compute"

// Reads frames, decodes them straight into the rows of a batch, returns their credit, and hands the batch
// over. With several teachers it reads one stream per set, in step. A source that goes away (Unavailable) is
// waited for, with a message now and then, and reopened at the same step. Next and Release belong to one
// thread.
class BatchFeed {
 public:
  using PixelProvider = SampleDecoder::PixelProvider;

  // The set of a second teacher, or of one after it: of the same views and manifest. Its rows are those of
  // the first set's mask.
  struct FurtherSet {
    Digest256 set_id;
    std::vector<uint32_t> levels;
    // The order's mask gives the same patches there (checked); else all tokens are read, and rows picked
    // here.
    bool draws_same_mask = false;
    uint32_t num_masks = 0;                   // M of a set of visible tokens; 0 = it has all
    const FeatureProfile* profile = nullptr;  // as Options::profile
  };

  struct Options {
    EpochRequest request;  // epoch and step_begin: where to start; step_end is the feed's business
    std::vector<FurtherSet>
        further_sets;        // shape.teachers has the first set's entry and one for each of these
    uint64_t num_steps = 0;  // batches to give, over as many epochs as it takes
    BatchShape shape;        // `coded` follows from decode_on
    const FeatureProfile* profile =
        nullptr;  // of the first set's codec, if that needs one; must outlive the feed
    // Where epochs differ in their masks: the order of each. Empty = request.order throughout.
    std::function<OrderSpec(uint64_t epoch)> order_of_epoch;
    MissPolicy miss = MissPolicy::kFail;
    // With kWait: how far the set is, for messages ("12,000 of 50,000 records"). Called from the feed's
    // thread.
    std::function<std::string()> set_progress;
    // Targets travel coded to this device and are decoded there, asynchronously, by Next. Unset: the feed's
    // thread decodes them into the batch's memory. The values are the same.
    std::optional<at::Device> decode_on;
    PixelProvider pixels;                             // empty = from the records
    int num_batches = 3;                              // in rotation: one in use, one ready, one in the making
    absl::Duration first_wait = absl::Seconds(1);     // before a source that has gone is tried again; doubles
    absl::Duration longest_wait = absl::Seconds(10);  // between tries, and between messages
    absl::Duration give_up_after = absl::InfiniteDuration();  // of a source that has gone: then Unavailable
    // Called from the feed's thread, and from Next when it has waited for longest_wait.
    std::function<void(const std::string&)> message;
    std::function<absl::Time()> now = absl::Now;  // for last_wait; read only while Next waits
  };

  BatchFeed(EpochSource* source, Options options);
  ~BatchFeed();
  BatchFeed(const BatchFeed&) = delete;
  BatchFeed& operator=(const BatchFeed&) = delete;

  // The next batch, valid until Release; null after `num_steps`, or when `stop` became true while none was
  // ready. The first error of the source ends the feed: with MissPolicy::kFail NotFound (MISSING) or DataLoss
  // (DAMAGED) naming the key. A sample that any set lacks counts as missing. FailedPrecondition: the sets do
  // not fit each other (another view or another mask of one sample).
  absl::StatusOr<TrainingBatch*> Next(const std::function<bool()>& stop = {});
  void Release(TrainingBatch* batch);
  // What the last Next waited for; nothing where a batch was ready. EpochFrame::waited by server, as far as
  // it lies inside that wait; queue: opening epochs, a source that is away, records that are awaited; decode:
  // all the rest, which is work of the feed's thread, or its wait for a processor.
  const Stall& last_wait() const { return last_wait_; }

 private:
  struct Slot {
    TrainingBatch batch;
    TargetDecoder::Upload upload;  // of the batch that was given last
    bool ready = false;
    bool taken = false;
  };

  using Streams = std::vector<std::unique_ptr<EpochStream>>;  // of the first set, then of the further ones

  void Work();
  // Until `slot` is ready or an error is there; false when `stop` became true.
  bool WaitForSlot(std::unique_lock<std::mutex>& lock, const Slot& slot, const std::function<bool()>& stop);
  // The thread has been held up until now; a part of what Next waits for, if it does.
  void Explain(std::optional<uint32_t> server, const StallTimes& times);
  absl::StatusOr<Streams> OpenStreams(const EpochRequest& request);
  absl::Status FillBatch(Streams& streams, TrainingBatch& batch);
  // The frames of one position, one per set.
  absl::Status AddSample(std::span<const EpochFrame> frames, TrainingBatch& batch) const;
  // What Next waits for.
  std::string DescribeWait(absl::Time since) const;
  // False when the feed is being destroyed.
  bool WaitForSource(const absl::Status& status, int tries, absl::Time since);

  EpochSource* const source_;
  const Options options_;
  const SampleDecoder decoder_;
  std::optional<TargetDecoder> target_decoder_;  // with decode_on; of the caller of Next
  const uint64_t steps_per_epoch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  uint64_t next_to_give_ = 0;
  Stall last_wait_;   // of the caller of Next
  StallMeter meter_;  // of the present Next
  bool stopping_ = false;
  bool source_is_awaited_ = false;          // the thread is in WaitForSource, which says so itself
  absl::Status status_;                     // of the thread, once it has ended early
  std::atomic<bool> opening_ = false;       // of the thread: inside OpenStreams
  std::atomic<uint64_t> samples_come_ = 0;  // of the thread: of the batch in the making
  Streams* streams_ = nullptr;              // the thread's, to cancel
  std::thread thread_;
};

}  // namespace afterimage::trainer
