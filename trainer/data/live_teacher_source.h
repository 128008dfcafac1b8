// An epoch source without a cache: the teacher runs while the student trains.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "core/feature/feature_spec.h"
#include "core/feature/image_index.h"
#include "core/order/epoch_source.h"
#include "core/vit/teacher_runner.h"
#include "trainer/data/record_computer.h"

namespace afterimage::trainer {

// Every frame is made by a RecordComputer, so that the bytes are those of a cached set. FAILED pictures are
// frames of that state. Thread-safe; the streams take turns with the teacher.
class LiveTeacherSource : public EpochSource {
 public:
  // Where views change over the epochs (each view seed is one epoch's): the spec of each, of the size that
  // `description` says; the feature id stays that of the description.
  using ViewOfEpoch = std::function<ViewSpec(uint64_t epoch)>;

  // Errors of RecordComputer::Create. `profile`: of the description's codec, null where it needs none. The
  // pointers must outlive the source and its streams.
  static absl::StatusOr<std::unique_ptr<LiveTeacherSource>> Create(TeacherRunner* teacher,
                                                                   const ImageIndex* images,
                                                                   SetDescription description,
                                                                   ViewOfEpoch view_of_epoch = {},
                                                                   const FeatureProfile* profile = nullptr);

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override;

 private:
  friend class LiveTeacherStream;
  LiveTeacherSource(std::unique_ptr<RecordComputer> computer, ViewOfEpoch view_of_epoch);

  const std::unique_ptr<RecordComputer> computer_;
  const ViewOfEpoch view_of_epoch_;
};

}  // namespace afterimage::trainer
