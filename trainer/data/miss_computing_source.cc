#include "trainer/data/miss_computing_source.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

bool IsMiss(const EpochFrame& frame) {
  return frame.state == RecordState::kMissing || frame.state == RecordState::kDamaged;
}

class MissComputingStream : public EpochStream {
 public:
  MissComputingStream(std::unique_ptr<EpochStream> stream, RecordComputer* computer, EpochRequest request)
      : stream_(std::move(stream)), computer_(computer), request_(std::move(request)) {}

  absl::StatusOr<std::optional<EpochFrame>> Next() override {
    if (ready_.empty()) {
      AFTERIMAGE_ASSIGN_OR_RETURN(std::optional<EpochFrame> frame, stream_->Next());
      if (!frame.has_value() || !IsMiss(*frame)) return frame;
      ready_.push_back(*std::move(frame));
      AFTERIMAGE_RETURN_IF_ERROR(TakeNeighbours());
      AFTERIMAGE_RETURN_IF_ERROR(ComputeMisses());
    }
    std::optional<EpochFrame> frame(std::move(ready_.front()));
    ready_.pop_front();
    return frame;
  }

  // The source has spent nothing on what was computed here: that part stays.
  void ReturnCredit(uint64_t bytes) override {
    {
      std::lock_guard lock(mutex_);
      const uint64_t ours = std::min(bytes, computed_bytes_);
      computed_bytes_ -= ours;
      bytes -= ours;
    }
    if (bytes > 0) stream_->ReturnCredit(bytes);
  }
  void Cancel() override {
    cancelled_ = true;
    stream_->Cancel();
  }
  bool IsHeldUp() const override { return stream_->IsHeldUp(); }

 private:
  // Frames of the step that begins in ready_, until a micro-batch of them is missing.
  absl::Status TakeNeighbours() {
    size_t num_misses = 1;
    const uint64_t step = ready_.front().step;
    while (num_misses < computer_->micro_batch() && ready_.back().step == step) {
      AFTERIMAGE_ASSIGN_OR_RETURN(std::optional<EpochFrame> frame, stream_->Next());
      if (!frame.has_value()) break;
      num_misses += IsMiss(*frame);
      ready_.push_back(*std::move(frame));
    }
    return absl::OkStatus();
  }

  absl::Status ComputeMisses() {
    if (cancelled_) return absl::CancelledError("the stream was cancelled");
    std::vector<EpochFrame*> misses;
    uint64_t bytes_before = 0;
    for (EpochFrame& frame : ready_) {
      if (!IsMiss(frame)) continue;
      misses.push_back(&frame);
      bytes_before += frame.CostBytes();
    }
    AFTERIMAGE_RETURN_IF_ERROR(computer_->Compute(misses, request_, computer_->description().feature.view));
    uint64_t bytes_after = 0;
    for (EpochFrame* const frame : misses) {
      frame->computed = frame->state == RecordState::kOk;
      bytes_after += frame->CostBytes();
    }
    std::lock_guard lock(mutex_);
    computed_bytes_ += bytes_after - bytes_before;
    return absl::OkStatus();
  }

  const std::unique_ptr<EpochStream> stream_;
  RecordComputer* const computer_;
  const EpochRequest request_;
  std::deque<EpochFrame> ready_;
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  uint64_t computed_bytes_ = 0;  // of frames that were given out or will be, and not returned
};

}  // namespace

absl::StatusOr<std::unique_ptr<EpochStream>> MissComputingSource::Open(const EpochRequest& request) {
  AFTERIMAGE_ASSIGN_OR_RETURN(EpochRequest checked,
                              ValidateEpochRequest(request, computer_->description(), computer_->manifest()));
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<EpochStream> stream, source_->Open(request));
  return std::make_unique<MissComputingStream>(std::move(stream), computer_, std::move(checked));
}

}  // namespace afterimage::trainer
