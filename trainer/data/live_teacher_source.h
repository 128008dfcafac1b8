// An epoch source without a cache: the teacher runs while the student trains.
#pragma once

#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "core/feature/feature_spec.h"
#include "core/feature/image_index.h"
#include "core/order/epoch_source.h"
#include "core/vit/teacher_runner.h"

namespace afterimage::trainer {

// Decodes the picture of each key, makes its view, runs the teacher, encodes the record and takes the part
// that was asked for: the very functions that precompute and a server use, so that with codec f32 the bytes
// are those of a cached set. FAILED pictures are frames of that state. Thread-safe; the streams take turns
// with the teacher.
class LiveTeacherSource : public EpochSource {
 public:
  // FailedPrecondition: `description` is of another feature id than this teacher over these views gives (both
  // told). The pointers must outlive the source and its streams.
  static absl::StatusOr<std::unique_ptr<LiveTeacherSource>> Create(TeacherRunner* teacher,
                                                                   const ImageIndex* images,
                                                                   SetDescription description);

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override;

 private:
  friend class LiveTeacherStream;
  LiveTeacherSource(TeacherRunner* teacher, const ImageIndex* images, SetDescription description);

  TeacherRunner* const teacher_;
  const ImageIndex* const images_;
  const SetDescription description_;
  std::mutex mutex_;  // of the teacher
};

}  // namespace afterimage::trainer
