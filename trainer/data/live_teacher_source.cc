#include "trainer/data/live_teacher_source.h"

#include <atomic>
#include <deque>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"
#include "core/order/epoch_positions.h"

namespace afterimage::trainer {

// One walk over the order. The frames of a micro-batch are made together and wait in `ready_`.
class LiveTeacherStream : public EpochStream {
 public:
  LiveTeacherStream(LiveTeacherSource* source, EpochRequest request)
      : computer_(*source->computer_),
        request_(std::move(request)),
        positions_(request_),
        view_(source->view_of_epoch_ ? source->view_of_epoch_(request_.epoch)
                                     : computer_.description().feature.view) {}

  absl::StatusOr<std::optional<EpochFrame>> Next() override {
    if (cancelled_) return absl::CancelledError("the stream was cancelled");
    if (ready_.empty()) AFTERIMAGE_RETURN_IF_ERROR(MakeFrames());
    if (ready_.empty()) return std::nullopt;
    EpochFrame frame = std::move(ready_.front());
    ready_.pop_front();
    return frame;
  }
  void ReturnCredit(uint64_t) override {}
  void Cancel() override { cancelled_ = true; }

 private:
  absl::Status MakeFrames();

  RecordComputer& computer_;
  const EpochRequest request_;
  const EpochPositions positions_;
  const ViewSpec view_;
  uint64_t next_ = 0;  // of positions_
  std::deque<EpochFrame> ready_;
  std::atomic<bool> cancelled_{false};
};

absl::Status LiveTeacherStream::MakeFrames() {
  std::vector<EpochFrame*> frames;
  for (; next_ < positions_.size() && frames.size() < computer_.micro_batch(); ++next_) {
    ready_.push_back(FrameAt(request_, computer_.description(), computer_.manifest(), positions_[next_]));
    frames.push_back(&ready_.back());
  }
  return computer_.Compute(frames, request_, view_);
}

LiveTeacherSource::LiveTeacherSource(std::unique_ptr<RecordComputer> computer, ViewOfEpoch view_of_epoch)
    : computer_(std::move(computer)), view_of_epoch_(std::move(view_of_epoch)) {}

absl::StatusOr<std::unique_ptr<LiveTeacherSource>> LiveTeacherSource::Create(TeacherRunner* teacher,
                                                                             const ImageIndex* images,
                                                                             SetDescription description,
                                                                             ViewOfEpoch view_of_epoch,
                                                                             const FeatureProfile* profile) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<RecordComputer> computer,
                              RecordComputer::Create(teacher, images, std::move(description), profile));
  return std::unique_ptr<LiveTeacherSource>(
      new LiveTeacherSource(std::move(computer), std::move(view_of_epoch)));
}

absl::StatusOr<std::unique_ptr<EpochStream>> LiveTeacherSource::Open(const EpochRequest& request) {
  AFTERIMAGE_ASSIGN_OR_RETURN(EpochRequest checked,
                              ValidateEpochRequest(request, computer_->description(), computer_->manifest()));
  return std::make_unique<LiveTeacherStream>(this, std::move(checked));
}

}  // namespace afterimage::trainer
