#include "trainer/data/live_teacher_source.h"

#include <atomic>
#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "core/mask/mask.h"
#include "core/view/view.h"

namespace afterimage::trainer {

// One walk over the order. The frames of a micro-batch are made together and wait in `ready_`.
class LiveTeacherStream : public EpochStream {
 public:
  LiveTeacherStream(LiveTeacherSource* source, EpochRequest request)
      : source_(source),
        request_(std::move(request)),
        slots_(SlotsOfRank(request_.slice, request_.global_batch)),
        view_(source_->view_of_epoch_ ? source_->view_of_epoch_(request_.epoch)
                                      : source_->description_.feature.view),
        step_(request_.step_begin),
        slot_(slots_.begin) {}

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
  // Fills in block and digest from what the teacher saw.
  absl::Status Finish(FeatureRecord record, EpochFrame& frame) const;

  LiveTeacherSource* const source_;
  const EpochRequest request_;
  const SlotRange slots_;
  const ViewSpec view_;
  uint64_t step_;
  uint64_t slot_;
  std::deque<EpochFrame> ready_;
  std::atomic<bool> cancelled_{false};
};

absl::Status LiveTeacherStream::MakeFrames() {
  const SetDescription& description = source_->description_;
  const uint32_t num_masks =
      description.set.token_policy == TokenPolicy::kVisible ? description.set.mask.num_masks : 0;
  const Manifest& manifest = source_->images_->manifest();
  std::vector<View> views;
  std::vector<size_t> frame_of_view;
  while (step_ < request_.step_end && views.size() < source_->teacher_->micro_batch()) {
    const uint64_t position = step_ * request_.global_batch + slot_;
    if (++slot_ == slots_.end) {
      slot_ = slots_.begin;
      ++step_;
    }
    const OrderEntry entry = EntryAt(request_.order, num_masks, request_.epoch, position);
    EpochFrame frame;
    frame.position = position;
    frame.step = position / request_.global_batch;
    frame.occurrence = entry.occurrence;
    frame.key = {manifest.keys()[manifest.KeyIndexOfOccurrence(entry.occurrence)], entry.view_seed};
    frame.mask_index = entry.mask_index;
    frame.padding = entry.padding;

    const absl::StatusOr<RgbImage> image = source_->images_->ReadImage(frame.key.image);
    if (absl::IsInvalidArgument(image.status())) {  // final: the picture cannot be decoded
      frame.state = RecordState::kFailed;
      frame.reason = std::string(image.status().message());
      ready_.push_back(std::move(frame));
      continue;
    }
    AFTERIMAGE_RETURN_IF_ERROR(image.status());
    AFTERIMAGE_ASSIGN_OR_RETURN(View view, MakeView(*image, view_,
                                                    DrawViewGeometry(frame.key.image, view_, entry.view_seed,
                                                                     image->width, image->height)));
    frame.state = RecordState::kOk;
    frame_of_view.push_back(ready_.size());
    views.push_back(std::move(view));
    ready_.push_back(std::move(frame));
  }
  if (views.empty()) return absl::OkStatus();

  absl::StatusOr<std::vector<FeatureRecord>> records = [&] {
    std::lock_guard lock(source_->mutex_);
    return source_->teacher_->Run(views, description.set.levels);
  }();
  AFTERIMAGE_RETURN_IF_ERROR(records.status());
  for (size_t i = 0; i < records->size(); ++i) {
    EpochFrame& frame = ready_[frame_of_view[i]];
    AFTERIMAGE_RETURN_IF_ERROR(
        WithContext(Finish(std::move((*records)[i]), frame), absl::StrCat("record ", frame.key.ToString())));
  }
  return absl::OkStatus();
}

absl::Status LiveTeacherStream::Finish(FeatureRecord record, EpochFrame& frame) const {
  const SetSpec& set = source_->description_.set;
  // The steps of precompute: masks where the set keeps visible tokens only, then the block as it would be
  // stored …
  std::vector<uint16_t> mask;
  if (set.token_policy == TokenPolicy::kVisible) {
    std::vector<std::vector<uint16_t>> masks;
    for (uint32_t m = 0; m < set.mask.num_masks; ++m) {
      AFTERIMAGE_ASSIGN_OR_RETURN(masks.emplace_back(), DrawMask(set.mask, frame.key.image,
                                                                 frame.key.view_seed, m, record.importance));
    }
    mask = masks[frame.mask_index];
    record = KeepVisible(record, std::move(masks));
  } else if (request_.selection.tokens == Selection::Tokens::kMask) {
    AFTERIMAGE_ASSIGN_OR_RETURN(mask, DrawMask(request_.order.mask, frame.key.image, frame.key.view_seed,
                                               frame.mask_index, record.importance));
  }
  if (!set.pixels) record.pixels.clear();
  AFTERIMAGE_ASSIGN_OR_RETURN(std::string encoded, 
                              EncodeFeatureBlock(record, set.codec, source_->profile_, set.pixel_coding));
  // … and what a reader makes of it.
  const PinnedBytes stored = PinnedBytes::FromString(std::move(encoded));
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block, FeatureBlock::Parse(stored.bytes, source_->profile_));
  AFTERIMAGE_ASSIGN_OR_RETURN(frame.block, SelectFromBlock(block, stored, request_.selection, mask));
  frame.record_digest = block.record_digest();
  return absl::OkStatus();
}

LiveTeacherSource::LiveTeacherSource(TeacherRunner* teacher, const ImageIndex* images,
                                     SetDescription description, ViewOfEpoch view_of_epoch,
                                     const FeatureProfile* profile)
    : teacher_(teacher),
      images_(images),
      description_(std::move(description)),
      view_of_epoch_(std::move(view_of_epoch)),
      profile_(profile) {}

absl::StatusOr<std::unique_ptr<LiveTeacherSource>> LiveTeacherSource::Create(TeacherRunner* teacher,
                                                                             const ImageIndex* images,
                                                                             SetDescription description,
                                                                             ViewOfEpoch view_of_epoch,
                                                                             const FeatureProfile* profile) {
  AFTERIMAGE_RETURN_IF_ERROR(description.Validate());
  const Digest256 mine = MakeFeatureSpec(*teacher, description.feature.view).Id();
  if (mine != description.set.feature_id) {
    return absl::FailedPreconditionError(absl::StrCat("the teacher gives features ", mine.Hex(),
                                                      ", the set holds ", description.set.feature_id.Hex(),
                                                      ": another teacher, preprocessing or view spec"));
  }
  return std::unique_ptr<LiveTeacherSource>(
      new LiveTeacherSource(teacher, images, std::move(description), std::move(view_of_epoch), profile));
}

absl::StatusOr<std::unique_ptr<EpochStream>> LiveTeacherSource::Open(const EpochRequest& request) {
  AFTERIMAGE_ASSIGN_OR_RETURN(EpochRequest checked,
                              ValidateEpochRequest(request, description_, images_->manifest()));
  return std::make_unique<LiveTeacherStream>(this, std::move(checked));
}

}  // namespace afterimage::trainer
