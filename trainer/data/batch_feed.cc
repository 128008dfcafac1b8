#include "trainer/data/batch_feed.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"

namespace afterimage::trainer {
namespace {

absl::Status MissError(const EpochFrame& frame) {
  const std::string hint = "; `afterimage-precompute` computes it, --miss skip goes on without it";
  if (frame.state == RecordState::kMissing) {
    return absl::NotFoundError(absl::StrCat("record ", frame.key.ToString(), " is missing", hint));
  }
  return absl::DataLossError(
      absl::StrCat("record ", frame.key.ToString(), " is damaged: ", frame.reason, hint));
}

// Row `index` of a tensor [G, ...] as memory.
template <typename T>
std::span<T> RowOf(const at::Tensor& tensor, int64_t index) {
  const int64_t length = tensor.numel() / tensor.size(0);
  return {tensor.data_ptr<T>() + index * length, static_cast<size_t>(length)};
}

}  // namespace

TrainingBatch TrainingBatch::Allocate(const BatchShape& shape) {
  const auto options = [&](at::ScalarType type) {
    return at::TensorOptions().dtype(type).pinned_memory(shape.pinned);
  };
  const int64_t tokens = 1 + shape.num_visible;
  TrainingBatch batch;
  batch.pixels = at::zeros({shape.batch, shape.num_visible, 3 * shape.patch_size * shape.patch_size},
                           options(at::kByte));
  batch.visible = at::zeros({shape.batch, shape.num_visible}, options(at::kLong));
  for (size_t i = 0; i < shape.levels.size(); ++i) {
    batch.targets.push_back(at::zeros({shape.batch, tokens, shape.width}, options(at::kFloat)));
    if (!shape.with_statistics) continue;
    batch.mean.push_back(at::zeros({shape.batch, tokens}, options(at::kFloat)));
    batch.inverse_deviation.push_back(at::ones({shape.batch, tokens}, options(at::kFloat)));
  }
  return batch;
}

void TrainingBatch::SetNumVisible(int64_t num_visible) {
  if (num_visible == visible.size(1)) return;
  // Smaller sizes keep the memory, so that growing back to what was allocated needs none.
  const auto resize = [](at::Tensor& tensor, int64_t length) {
    std::vector<int64_t> sizes = tensor.sizes().vec();
    sizes[1] = length;
    tensor.resize_(sizes);
  };
  resize(pixels, num_visible);
  resize(visible, num_visible);
  for (std::vector<at::Tensor>* const of_levels : {&targets, &mean, &inverse_deviation}) {
    for (at::Tensor& tensor : *of_levels) resize(tensor, 1 + num_visible);
  }
}

BatchFeed::BatchFeed(EpochSource* source, Options options)
    : source_(source),
      options_(std::move(options)),
      steps_per_epoch_(StepsPerEpoch(options_.request.order, options_.request.global_batch)),
      slots_(options_.num_batches) {
  for (Slot& slot : slots_) slot.batch = TrainingBatch::Allocate(options_.shape);
  thread_ = std::thread([this] { Work(); });
}

BatchFeed::~BatchFeed() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (stream_ != nullptr) stream_->Cancel();
  }
  changed_.notify_all();
  thread_.join();
}

absl::StatusOr<TrainingBatch*> BatchFeed::Next(const std::function<bool()>& stop) {
  std::unique_lock lock(mutex_);
  if (next_to_give_ == options_.num_steps) return nullptr;
  Slot& slot = slots_[next_to_give_ % slots_.size()];
  // A signal handler cannot notify a condition variable: look at `stop` a few times a second.
  while (
      !changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return slot.ready || !status_.ok(); })) {
    if (stop && stop()) return nullptr;
  }
  if (!slot.ready) return status_;
  ++next_to_give_;
  return &slot.batch;
}

void BatchFeed::Release(TrainingBatch* batch) {
  std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) {
    if (&slot.batch != batch) continue;
    slot.ready = false;
    slot.taken = false;
  }
  changed_.notify_all();
}

void BatchFeed::Work() {
  EpochRequest request = options_.request;
  uint64_t epoch = request.epoch;
  uint64_t step = request.step_begin;
  std::unique_ptr<EpochStream> stream;
  int tries = 0;
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
      if (stream == nullptr) {
        request.epoch = epoch;
        if (options_.order_of_epoch) request.order = options_.order_of_epoch(epoch);
        request.step_begin = step;
        request.step_end = std::min(steps_per_epoch_, step + (options_.num_steps - done));
        auto opened = source_->Open(request);
        status = opened.status();
        if (opened.ok()) stream = *std::move(opened);
      }
      if (stream != nullptr) {
        {
          std::lock_guard lock(mutex_);
          stream_ = stream.get();
          if (stopping_) stream->Cancel();
        }
        slot.batch.epoch = epoch;
        slot.batch.step = step;
        status = RunTorch([&] {
          slot.batch.SetNumVisible(request.order.mask.num_visible);
          return FillBatch(*stream, slot.batch);
        });
        std::lock_guard lock(mutex_);
        stream_ = nullptr;
      }
      if (!absl::IsUnavailable(status)) break;
      // The source has gone, perhaps in the middle of a batch: open again at this step and fill it anew.
      stream.reset();
      if (tries == 0) away_since = absl::Now();
      if (!WaitForSource(status, tries++, away_since)) break;
    }
    if (status.ok() && tries > 0) {
      if (options_.message)
        options_.message(
            absl::StrCat("the source is back after ",
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
      stream.reset();
    }
  }
}

bool BatchFeed::WaitForSource(const absl::Status& status, int tries, absl::Time since) {
  const absl::Duration pause =
      std::min(options_.longest_wait, options_.first_wait * (1 << std::min(tries, 10)));
  if (options_.message) {
    options_.message(absl::StrCat("the source of features has been away since ",
                                  absl::FormatTime("%H:%M:%S", since, absl::LocalTimeZone()),
                                  ", trying again in ", absl::FormatDuration(pause), " (", status.message(),
                                  ")"));
  }
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, absl::ToChronoMilliseconds(pause), [&] { return stopping_; });
}

absl::Status BatchFeed::FillBatch(EpochStream& stream, TrainingBatch& batch) const {
  batch.size = 0;
  batch.keys.clear();
  batch.sum = {};
  batch.num_failed = batch.num_skipped = batch.bytes = 0;
  const SlotRange slots = SlotsOfRank(options_.request.slice, options_.request.global_batch);
  for (uint64_t index = slots.begin; index < slots.end; ++index) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<EpochFrame> frame, stream.Next());
    const uint64_t position = batch.step * options_.request.global_batch + index;
    if (!frame.has_value())
      return absl::InternalError(absl::StrCat("the source ended the epoch before position ", position));
    if (frame->position != position) {
      return absl::InternalError(
          absl::StrCat("the source sent position ", frame->position, " instead of ", position));
    }
    batch.sum.Add(
        SampleSum(frame->position, frame->key, frame->mask_index, frame->state, frame->record_digest));
    batch.bytes += frame->block.bytes.size();
    const absl::Status status = AddSample(*frame, batch);
    stream.ReturnCredit(frame->CostBytes());
    AFTERIMAGE_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status BatchFeed::AddSample(const EpochFrame& frame, TrainingBatch& batch) const {
  if (frame.padding) return absl::OkStatus();
  if (frame.state == RecordState::kFailed) {
    ++batch.num_failed;
    return absl::OkStatus();
  }
  if (frame.state != RecordState::kOk) {
    if (options_.miss == MissPolicy::kFail) return MissError(frame);
    ++batch.num_skipped;
    return absl::OkStatus();
  }

  const auto decode = [&]() -> absl::Status {
    const BatchShape& shape = options_.shape;
    AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block, FeatureBlock::Parse(frame.block.bytes));
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> patches, block.Mask(0));
    const int64_t num_visible = batch.visible.size(1);
    if (static_cast<int64_t>(patches.size()) != num_visible || block.num_tokens() != patches.size() + 1 ||
        block.width() != shape.width) {
      return absl::InternalError(absl::StrCat("the record came with ", block.num_tokens(),
                                              " tokens of width ", block.width(), " and ", patches.size(),
                                              " visible patches, not ", num_visible + 1, " of width ",
                                              shape.width, " and ", num_visible));
    }
    const int64_t row = batch.size;
    // A selected block has the class token first and then the patches in drawn order: whole planes are what
    // we want.
    std::ranges::copy(patches, RowOf<int64_t>(batch.visible, row).begin());
    const std::span<uint8_t> pixels = RowOf<uint8_t>(batch.pixels, row);
    if (options_.pixels) {
      AFTERIMAGE_RETURN_IF_ERROR(options_.pixels(frame.key, block, patches, pixels));
    } else {
      AFTERIMAGE_RETURN_IF_ERROR(block.ReadPixels({}, pixels));
    }
    for (size_t i = 0; i < shape.levels.size(); ++i) {
      AFTERIMAGE_RETURN_IF_ERROR(block.ReadLevel(shape.levels[i], {}, RowOf<float>(batch.targets[i], row)));
      if (!shape.with_statistics) continue;
      AFTERIMAGE_RETURN_IF_ERROR(block.ReadLevelStatistics(shape.levels[i], RowOf<float>(batch.mean[i], row),
                                                           RowOf<float>(batch.inverse_deviation[i], row)));
    }
    return absl::OkStatus();
  };
  const absl::Status status = WithContext(decode(), absl::StrCat("record ", frame.key.ToString()));
  if (absl::IsDataLoss(status) && options_.miss == MissPolicy::kSkip) {
    ++batch.num_skipped;
    return absl::OkStatus();
  }
  AFTERIMAGE_RETURN_IF_ERROR(status);
  batch.keys.push_back(frame.key);
  ++batch.size;
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
