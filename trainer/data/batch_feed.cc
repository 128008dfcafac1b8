#include "trainer/data/batch_feed.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"

namespace afterimage::trainer {
namespace {

absl::Status MissError(const EpochFrame& frame) {
  const std::string hint =
      "; `afterimage-precompute` computes it, --miss skip goes on without it, --miss wait until it is there, "
      "--miss compute with --teacher and --images makes it here";
  if (frame.state == RecordState::kMissing) {
    return absl::NotFoundError(absl::StrCat("record ", frame.key.ToString(), " is missing", hint));
  }
  return absl::DataLossError(
      absl::StrCat("record ", frame.key.ToString(), " is damaged: ", frame.reason, hint));
}

// How FillBatch ends at a record that MissPolicy::kWait waits for; nothing else ends so.
absl::Status AwaitedRecord(const RecordKey& key) {
  return absl::AbortedError(absl::StrCat("record ", key.ToString(), " is missing"));
}
bool IsAwaitedRecord(const absl::Status& status) { return absl::IsAborted(status); }

std::vector<SampleDecoder::Set> SetsToDecode(const BatchFeed::Options& options) {
  std::vector<SampleDecoder::Set> sets = {{options.request.set_id, options.profile}};
  for (const BatchFeed::FurtherSet& set : options.further_sets)
    sets.push_back({set.set_id, set.profile, set.draws_same_mask});
  return sets;
}

BatchFeed::Options WithShape(BatchFeed::Options options) {
  options.shape.coded = options.decode_on.has_value();
  return options;
}

// In the order of a batch's targets.
std::vector<TargetDecoder::Level> LevelsToDecode(const BatchFeed::Options& options) {
  std::vector<TargetDecoder::Level> levels;
  for (size_t teacher = 0; teacher < options.shape.teachers.size(); ++teacher) {
    const FeatureProfile* const profile =
        teacher == 0 ? options.profile : options.further_sets[teacher - 1].profile;
    for (const uint32_t level : options.shape.teachers[teacher].levels) levels.push_back({level, profile});
  }
  return levels;
}

void Cancel(std::span<const std::unique_ptr<EpochStream>> streams) {
  for (const auto& stream : streams) stream->Cancel();
}

}  // namespace

const char* MissPolicyName(MissPolicy policy) {
  switch (policy) {
    case MissPolicy::kFail:
      return "fail";
    case MissPolicy::kSkip:
      return "skip";
    case MissPolicy::kWait:
      return "wait";
    case MissPolicy::kCompute:
      return "compute";
  }
  return "?";
}

BatchFeed::BatchFeed(EpochSource* source, Options options)
    : source_(source),
      options_(WithShape(std::move(options))),
      decoder_(options_.shape, SetsToDecode(options_), options_.pixels),
      steps_per_epoch_(StepsPerEpoch(options_.request.order, options_.request.global_batch)),
      slots_(options_.num_batches) {
  for (Slot& slot : slots_) slot.batch = TrainingBatch::Allocate(options_.shape);
  if (options_.decode_on.has_value()) target_decoder_.emplace(*options_.decode_on, LevelsToDecode(options_));
  thread_ = std::thread([this] { Work(); });
}

BatchFeed::~BatchFeed() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (streams_ != nullptr) Cancel(*streams_);
  }
  changed_.notify_all();
  thread_.join();
}

absl::StatusOr<TrainingBatch*> BatchFeed::Next(const std::function<bool()>& stop) {
  std::unique_lock lock(mutex_);
  if (next_to_give_ == options_.num_steps) return nullptr;
  Slot& slot = slots_[next_to_give_ % slots_.size()];
  last_wait_ = {};
  if (!slot.ready && status_.ok()) {
    meter_.Begin(options_.now());
    const bool goes_on = WaitForSlot(lock, slot, stop);
    last_wait_ = meter_.End(options_.now(), StallPart::kDecode);
    if (!goes_on) return nullptr;
  }
  if (!slot.ready) return status_;
  ++next_to_give_;
  lock.unlock();
  if (target_decoder_.has_value()) {
    AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&] { slot.upload = target_decoder_->Decode(slot.batch); }));
  }
  return &slot.batch;
}

bool BatchFeed::WaitForSlot(std::unique_lock<std::mutex>& lock, const Slot& slot,
                            const std::function<bool()>& stop) {
  const absl::Time since = absl::Now();
  absl::Time next_message = since + options_.longest_wait;
  // A signal handler cannot notify a condition variable: look at `stop` a few times a second.
  while (
      !changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return slot.ready || !status_.ok(); })) {
    if (stop && stop()) return false;
    if (absl::Now() < next_message) continue;
    next_message = absl::Now() + options_.longest_wait;
    if (source_is_awaited_ || !options_.message) continue;
    const std::string text = DescribeWait(since);
    lock.unlock();
    options_.message(text);
    lock.lock();
  }
  return true;
}

void BatchFeed::Explain(std::optional<uint32_t> server, const StallTimes& times) {
  if (times.Total() <= absl::ZeroDuration()) return;
  std::lock_guard lock(mutex_);
  if (meter_.waiting()) meter_.Explain(server, times, options_.now());
}

std::string BatchFeed::DescribeWait(absl::Time since) const {
  const std::string what = opening_ ? "the source to open the epoch"
                                    : absl::StrCat("the source to send more: ", samples_come_.load(), " of ",
                                                   options_.shape.batch, " samples of this batch have come");
  return absl::StrCat("training waits since ", absl::FormatTime("%H:%M:%S", since, absl::LocalTimeZone()),
                      " for ", what);
}

void BatchFeed::Release(TrainingBatch* batch) {
  std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) {
    if (&slot.batch != batch) continue;
    if (target_decoder_.has_value()) {
      for (at::Tensor& target : slot.batch.targets)
        target.reset();  // memory of the device, for the next ones
    }
    slot.ready = false;
    slot.taken = false;
  }
  changed_.notify_all();
}

void BatchFeed::Work() {
  EpochRequest request = options_.request;
  uint64_t epoch = request.epoch;
  uint64_t step = request.step_begin;
  Streams streams;  // empty: to be opened
  int tries = 0;
  bool waits_for_record = false;
  absl::Time away_since;

  for (uint64_t done = 0; done < options_.num_steps;) {
    Slot& slot = slots_[done % slots_.size()];
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !slot.taken; });
      if (stopping_) break;
      slot.taken = true;
    }
    absl::Status status;
    while (true) {
      if (streams.empty()) {
        request.epoch = epoch;
        if (options_.order_of_epoch) request.order = options_.order_of_epoch(epoch);
        request.step_begin = step;
        request.step_end = std::min(steps_per_epoch_, step + (options_.num_steps - done));
        const absl::Time begin = options_.now();
        opening_ = true;
        auto opened = OpenStreams(request);
        opening_ = false;
        Explain(std::nullopt, {StallPart::kQueue, options_.now() - begin});
        status = opened.status();
        if (opened.ok()) streams = *std::move(opened);
      }
      if (!streams.empty()) {
        {
          std::lock_guard lock(mutex_);
          streams_ = &streams;
          if (stopping_) Cancel(streams);
        }
        slot.batch.epoch = epoch;
        slot.batch.step = step;
        status = RunTorch([&] {
          slot.upload.Wait();
          slot.batch.SetNumVisible(request.order.mask.num_visible);
          return FillBatch(streams, slot.batch);
        });
        std::lock_guard lock(mutex_);
        streams_ = nullptr;
      }
      if (!absl::IsUnavailable(status) && !IsAwaitedRecord(status)) break;
      // The source has gone, perhaps in the middle of a batch: open again at this step and fill it anew.
      streams.clear();
      waits_for_record = IsAwaitedRecord(status);
      if (tries == 0) away_since = absl::Now();
      if (!waits_for_record && absl::Now() - away_since >= options_.give_up_after) {
        status = absl::UnavailableError(
            absl::StrCat("the source of features has been away since ",
                         absl::FormatTime("%H:%M:%S", away_since, absl::LocalTimeZone()),
                         ", and is waited for no longer (", status.message(), ")"));
        break;
      }
      if (!WaitForSource(status, tries++, away_since)) break;
    }
    if (status.ok() && tries > 0) {
      if (options_.message)
        options_.message(absl::StrCat(
            waits_for_record ? "what was not computed yet is there after " : "the source is back after ",
            absl::FormatDuration(absl::Trunc(absl::Now() - away_since, absl::Seconds(1)))));
      tries = 0;
    }
    std::lock_guard lock(mutex_);
    if (stopping_) break;
    if (!status.ok()) {
      status_ = WithContext(status, absl::StrCat("epoch ", epoch, ", step ", step));
      changed_.notify_all();
      break;
    }
    slot.ready = true;
    changed_.notify_all();
    ++done;
    if (++step == steps_per_epoch_) {
      step = 0;
      ++epoch;
      streams.clear();
    }
  }
}

bool BatchFeed::WaitForSource(const absl::Status& status, int tries, absl::Time since) {
  const absl::Time begin = options_.now();
  const absl::Duration pause =
      std::min(options_.longest_wait, options_.first_wait * (1 << std::min(tries, 10)));
  if (options_.message && IsAwaitedRecord(status)) {
    options_.message(absl::StrCat(
        "waiting since ", absl::FormatTime("%H:%M:%S", since, absl::LocalTimeZone()),
        " for what is not computed yet", options_.set_progress ? ": " + options_.set_progress() : "",
        ", looking again in ", absl::FormatDuration(pause), " (", status.message(), ")"));
  } else if (options_.message) {
    options_.message(absl::StrCat("the source of features has been away since ",
                                  absl::FormatTime("%H:%M:%S", since, absl::LocalTimeZone()),
                                  ", trying again in ", absl::FormatDuration(pause), " (", status.message(),
                                  ")"));
  }
  std::unique_lock lock(mutex_);
  source_is_awaited_ = true;
  const bool stops = changed_.wait_for(lock, absl::ToChronoMilliseconds(pause), [&] { return stopping_; });
  source_is_awaited_ = false;
  lock.unlock();
  Explain(std::nullopt, {StallPart::kQueue, options_.now() - begin});
  return !stops;
}

absl::StatusOr<BatchFeed::Streams> BatchFeed::OpenStreams(const EpochRequest& request) {
  Streams streams;
  AFTERIMAGE_ASSIGN_OR_RETURN(streams.emplace_back(), source_->Open(request));
  for (const FurtherSet& set : options_.further_sets) {
    EpochRequest further = request;
    further.set_id = set.set_id;
    further.selection.levels = set.levels;
    further.selection.pixels = false;  // the first set has them
    further.selection.tokens = set.draws_same_mask ? Selection::Tokens::kMask : Selection::Tokens::kStored;
    if (set.num_masks > 0) further.order.mask.num_masks = set.num_masks;  // as such a set's mask spec has it
    auto stream = source_->Open(further);
    if (!stream.ok()) return WithContext(stream.status(), absl::StrCat("set ", set.set_id.Hex()));
    streams.push_back(*std::move(stream));
  }
  return streams;
}

absl::Status BatchFeed::FillBatch(Streams& streams, TrainingBatch& batch) {
  batch.size = 0;
  batch.keys.clear();
  batch.slots.clear();
  batch.sum = {};
  batch.num_failed = batch.num_skipped = batch.num_computed = batch.bytes = 0;
  const SlotRange slots = SlotsOfRank(options_.request.slice, options_.request.global_batch);
  samples_come_ = 0;
  std::vector<EpochFrame> frames(streams.size());
  for (uint64_t index = slots.begin; index < slots.end; ++index) {
    const uint64_t position = batch.step * options_.request.global_batch + index;
    for (size_t i = 0; i < streams.size(); ++i) {
      AFTERIMAGE_ASSIGN_OR_RETURN(std::optional<EpochFrame> frame, streams[i]->Next());
      if (!frame.has_value())
        return absl::InternalError(absl::StrCat("the source ended the epoch before position ", position));
      Explain(frame->server, frame->waited);
      if (frame->position != position) {
        return absl::InternalError(
            absl::StrCat("the source sent position ", frame->position, " instead of ", position));
      }
      batch.sum.Add(
          SampleSum(frame->position, frame->key, frame->mask_index, frame->state, frame->record_digest));
      batch.bytes += frame->block.bytes.size();
      frames[i] = *std::move(frame);
    }
    const absl::Status status = AddSample(frames, batch);
    for (size_t i = 0; i < streams.size(); ++i) streams[i]->ReturnCredit(frames[i].CostBytes());
    AFTERIMAGE_RETURN_IF_ERROR(status);
    ++samples_come_;
  }
  batch.Seal();
  return absl::OkStatus();
}

absl::Status BatchFeed::AddSample(std::span<const EpochFrame> frames, TrainingBatch& batch) const {
  if (frames.front().padding) return absl::OkStatus();
  const auto is = [](RecordState state) {
    return [state](const EpochFrame& frame) { return frame.state == state; };
  };
  if (std::ranges::any_of(frames, is(RecordState::kFailed))) {
    ++batch.num_failed;
    return absl::OkStatus();
  }
  absl::Status status;
  const auto bad = std::ranges::find_if_not(frames, is(RecordState::kOk));
  if (bad != frames.end()) {
    if (options_.miss == MissPolicy::kWait && bad->state == RecordState::kMissing)
      return AwaitedRecord(bad->key);
    status = MissError(*bad);
    if (bad != frames.begin()) {
      status = WithContext(
          status, absl::StrCat("set ", options_.further_sets[bad - frames.begin() - 1].set_id.Hex()));
    }
  } else {
    status =
        WithContext(decoder_.Decode(frames, batch), absl::StrCat("record ", frames.front().key.ToString()));
  }
  const bool is_miss = absl::IsDataLoss(status) || bad != frames.end();
  if (is_miss && options_.miss == MissPolicy::kSkip) {
    ++batch.num_skipped;
    return absl::OkStatus();
  }
  AFTERIMAGE_RETURN_IF_ERROR(status);
  batch.keys.push_back(frames.front().key);
  batch.slots.push_back(static_cast<uint32_t>(frames.front().position % options_.request.global_batch));
  ++batch.size;
  batch.num_computed += frames.front().computed;
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
