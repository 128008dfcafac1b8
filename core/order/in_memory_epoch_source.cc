#include "core/order/in_memory_epoch_source.h"

#include <atomic>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/order/epoch_positions.h"

namespace afterimage {
namespace {

class SequentialStream : public EpochStream {
 public:
  explicit SequentialStream(OpenedEpoch epoch) : epoch_(std::move(epoch)), positions_(epoch_.request) {}

  absl::StatusOr<std::optional<EpochFrame>> Next() override {
    if (cancelled_) return absl::CancelledError("reading the epoch was cancelled");
    if (!error_.ok()) return error_;
    if (index_ == positions_.size()) return std::nullopt;
    EpochFrame frame =
        FrameAt(epoch_.request, epoch_.store->description(), *epoch_.manifest, positions_[index_]);
    const RecordKey key = frame.key;
    const MaskChoice mask{epoch_.request.order.mask, frame.mask_index};
    const absl::Status status =
        epoch_.store->Read({&key, 1}, epoch_.request.selection, mask, [&](size_t, RecordResult result) {
          FillFrame(std::move(result), frame);
          return true;
        });
    if (!status.ok()) {
      error_ = WithContext(status, absl::StrCat("read position ", frame.position, " of epoch ", epoch_.request.epoch));
      return error_;
    }
    ++index_;
    return std::optional<EpochFrame>(std::move(frame));
  }

  void ReturnCredit(uint64_t) override {}
  void Cancel() override { cancelled_ = true; }

 private:
  const OpenedEpoch epoch_;
  const EpochPositions positions_;
  uint64_t index_ = 0;
  absl::Status error_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EpochStream>> InMemoryEpochSource::Open(const EpochRequest& request) {
  AFTERIMAGE_ASSIGN_OR_RETURN(OpenedEpoch epoch, opener_.Open(request));
  return std::make_unique<SequentialStream>(std::move(epoch));
}

}  // namespace afterimage
