// Codec and profile of a set that is yet to be made, from what its teacher gives.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/base/progress.h"
#include "core/feature/calibration_report.h"
#include "core/feature/feature_catalog.h"
#include "core/feature/image_index.h"
#include "core/vit/teacher_runner.h"

namespace afterimage {

struct CalibrateInput {
  // What the set will store of a record; its codec and profile are not looked at.
  SetDescription description;
  uint32_t num_view_seeds = 1;
  uint64_t samples = 2000;  // views
  CodecLimits limits;       // steps of ezq that come near them are measured, too
};

// The views that calibration looks at: of the first `samples` keys seed 0; with fewer than
// kEnoughCalibrationRecords keys all views of all seeds, seed by seed, at most `samples`.
std::vector<RecordKey> CalibrationSample(const Manifest& manifest, const CalibrateInput& input);

// One pass of the teacher over the sample. Statistics are those of all tokens of all its views; the codecs
// are measured on 32 of them, spread over the sample, as the set stores them. `keep_lease` is called between
// micro-batches, at the latest every few seconds; an error ends the pass. Views of images that cannot be
// decoded are left out; FailedPrecondition: all of them are. Cancelled: a stop was asked for.
absl::StatusOr<CalibrationReport> CalibrateOnImages(const CalibrateInput& input, const ImageIndex& images,
                                                    TeacherRunner& teacher, Progress* progress,
                                                    const std::function<absl::Status()>& keep_lease = {});

// What is asked for where the codec is yet to be decided, as a digest: feature id and set spec, with the
// limits in the place of a codec and its profile. Neither data set nor number of view seeds is in it, as in a
// set's id.
Digest256 RequestDigest(const SetSpec& set, std::optional<Codec> codec, const CodecLimits& limits);

// Decides a request once for all workers: the first to come calibrates, under a lease of the catalog; the
// others wait for it.
class CodecDecision {
 public:
  struct Options {
    CalibrateInput input;
    std::optional<Codec> codec;  // asked for by name, and only the profile is missing
    CodecLimits limits;          // else
    bool recalibrate = false;    // decides anew, whatever was decided
    bool plan_only = false;      // takes what was decided, and stores nothing
    std::string worker;
    absl::Duration lease_duration = absl::Seconds(60);
    absl::Duration poll_interval = absl::Seconds(1);
    Progress::Style style = Progress::Style::kSilent;
    std::function<void(const std::string&)> message;              // for people
    std::function<void(const CalibrationReport&, Codec)> report;  // called where this worker calibrates
  };

  // `catalog` null: there is no cache yet, and plan_only.
  explicit CodecDecision(FeatureCatalog* catalog, Options options)
      : catalog_(catalog), options_(std::move(options)) {}

  // Fills codec and profile digest of `set` in. A request whose set is gone is decided anew. Errors of CalibrateOnImages and ChooseCodec; then the lease
  // is given back.
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> Make(const ImageIndex& images, TeacherRunner& teacher,
                                                             SetSpec& set);
  // To be called when the set exists: the others go on. Aborted: another worker has decided otherwise, since
  // this one's lease ran out.
  absl::Status Publish(const Digest256& set_id);

 private:
  void Tell(const std::string& text) const;
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> TakeDecided(const Digest256& set_id,
                                                                    SetSpec& set) const;
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> Calibrate(const ImageIndex& images,
                                                                  TeacherRunner& teacher, SetSpec& set);
  absl::Status KeepLease();

  FeatureCatalog* catalog_;
  Options options_;
  Digest256 request_;
  bool decides_ = false;
  absl::Time renewed_;
};

}  // namespace afterimage
