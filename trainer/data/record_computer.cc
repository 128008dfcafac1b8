#include "trainer/data/record_computer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/encode_for_set.h"
#include "core/feature/feature_store.h"
#include "core/view/view.h"

namespace afterimage::trainer {

absl::StatusOr<std::unique_ptr<RecordComputer>> RecordComputer::Create(TeacherRunner* teacher,
                                                                       const ImageIndex* images,
                                                                       SetDescription description,
                                                                       const FeatureProfile* profile) {
  AFTERIMAGE_RETURN_IF_ERROR(description.Validate());
  const Digest256 mine = MakeFeatureSpec(*teacher, description.feature.view).Id();
  if (mine != description.set.feature_id) {
    return absl::FailedPreconditionError(absl::StrCat("the teacher gives features ", mine.Hex(),
                                                      ", the set holds ", description.set.feature_id.Hex(),
                                                      ": another teacher, preprocessing or view spec"));
  }
  if (!description.set.importance_from.IsZero()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the set's importance is that of another teacher, feature id ",
                     description.set.importance_from.Hex(), ", which one live teacher cannot give"));
  }
  return std::unique_ptr<RecordComputer>(
      new RecordComputer(teacher, images, std::move(description), profile));
}

absl::Status RecordComputer::Compute(std::span<EpochFrame* const> frames, const EpochRequest& request,
                                     const ViewSpec& spec) {
  std::vector<View> views;
  std::vector<EpochFrame*> seen;  // by the teacher
  for (EpochFrame* const frame : frames) {
    const RecordKey& key = frame->key;
    const absl::StatusOr<RgbImage> image = images_->ReadImage(key.image);
    if (absl::IsInvalidArgument(image.status())) {  // final: the picture cannot be decoded
      frame->state = RecordState::kFailed;
      frame->reason = std::string(image.status().message());
      continue;
    }
    AFTERIMAGE_RETURN_IF_ERROR(image.status());
    const ViewGeometry geometry =
        DrawViewGeometry(key.image, spec, key.view_seed, image->width, image->height);
    AFTERIMAGE_ASSIGN_OR_RETURN(View view, MakeView(*image, spec, geometry));
    views.push_back(std::move(view));
    seen.push_back(frame);
  }
  if (views.empty()) return absl::OkStatus();
  absl::StatusOr<std::vector<FeatureRecord>> records = [&] {
    std::lock_guard lock(mutex_);
    return teacher_->Run(views, description_.set.levels);
  }();
  AFTERIMAGE_RETURN_IF_ERROR(records.status());
  for (size_t i = 0; i < seen.size(); ++i) {
    AFTERIMAGE_RETURN_IF_ERROR(WithContext(Finish(std::move((*records)[i]), request, *seen[i]),
                                           absl::StrCat("record ", seen[i]->key.ToString())));
  }
  return absl::OkStatus();
}

absl::Status RecordComputer::Finish(FeatureRecord record, const EpochRequest& request,
                                    EpochFrame& frame) const {
  // As precompute stores it …
  AFTERIMAGE_ASSIGN_OR_RETURN(std::string encoded,
                              EncodeForSet(description_, profile_, frame.key, std::move(record)));
  // … and what a store makes of it.
  RecordResult result =
      ResultFromStored(description_, frame.key, PinnedBytes::FromString(std::move(encoded)), /*found=*/true,
                       request.selection, {request.order.mask, frame.mask_index}, profile_);
  if (result.state != RecordState::kOk) return absl::InternalError(result.reason);
  FillFrame(std::move(result), frame);
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
