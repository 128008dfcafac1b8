// Records made where they are wanted: what precompute would store, and what a reader would get of it.
#pragma once

#include <memory>
#include <mutex>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/feature/feature_spec.h"
#include "core/feature/image_index.h"
#include "core/feature/profile.h"
#include "core/order/epoch_source.h"
#include "core/vit/teacher_runner.h"

namespace afterimage::trainer {

// Decodes the picture of each frame, makes its view, runs the teacher, encodes the record and takes the part
// that was asked for: the very functions that precompute and a server use, so that the bytes, and the
// record's digest, are those of a cached set. Thread-safe; callers take turns with the teacher.
class RecordComputer {
 public:
  // FailedPrecondition: `description` is of another feature id than this teacher over its views gives (both
  // told), or its masks are drawn from another teacher's importance. `profile`: of the description's codec,
  // null where it needs none. The pointers must outlive the computer.
  static absl::StatusOr<std::unique_ptr<RecordComputer>> Create(TeacherRunner* teacher,
                                                                const ImageIndex* images,
                                                                SetDescription description,
                                                                const FeatureProfile* profile);

  // Fills in state, block, digest and reason; the frames have everything else. Best in micro_batch() at once.
  // `request`: whose frames they are. `view`: how the views are made. A picture that cannot be decoded makes
  // a FAILED frame. NotFound: no such picture in the index.
  absl::Status Compute(std::span<EpochFrame* const> frames, const EpochRequest& request,
                       const ViewSpec& view);

  uint32_t micro_batch() const { return teacher_->micro_batch(); }
  const SetDescription& description() const { return description_; }
  const Manifest& manifest() const { return images_->manifest(); }
  const FeatureProfile* profile() const { return profile_; }

 private:
  RecordComputer(TeacherRunner* teacher, const ImageIndex* images, SetDescription description,
                 const FeatureProfile* profile)
      : teacher_(teacher), images_(images), description_(std::move(description)), profile_(profile) {}
  // Fills in block and digest from what the teacher saw.
  absl::Status Finish(FeatureRecord record, const EpochRequest& request, EpochFrame& frame) const;

  TeacherRunner* const teacher_;
  const ImageIndex* const images_;
  const SetDescription description_;
  const FeatureProfile* const profile_;
  std::mutex mutex_;  // of the teacher
};

}  // namespace afterimage::trainer
