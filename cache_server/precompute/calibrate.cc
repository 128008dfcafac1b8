#include "cache_server/precompute/calibrate.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/feature/finer_steps.h"
#include "core/feature/profile_builder.h"
#include "core/feature/recode.h"
#include "core/view/view.h"

namespace afterimage {
namespace {

constexpr size_t kMeasuredRecords = 32;

std::string Describe(const std::vector<RecordKey>& sample, const ImageIndex& images,
                     const CalibrateInput& input) {
  const uint64_t num_keys = images.manifest().num_keys();
  if (num_keys >= kEnoughCalibrationRecords) {
    return absl::StrCat("the first ", sample.size(), " of ", num_keys, " images");
  }
  return absl::StrCat(sample.size(), " of all ", num_keys * input.num_view_seeds, " views of ", num_keys,
                      " images");
}

}  // namespace

std::vector<RecordKey> CalibrationSample(const Manifest& manifest, const CalibrateInput& input) {
  const uint32_t num_seeds = manifest.num_keys() < kEnoughCalibrationRecords ? input.num_view_seeds : 1;
  std::vector<RecordKey> sample;
  for (uint32_t seed = 0; seed < num_seeds; ++seed) {
    for (const ImageKey& key : manifest.keys()) {
      if (sample.size() == input.samples) return sample;
      sample.push_back({key, seed});
    }
  }
  return sample;
}

absl::StatusOr<CalibrationReport> CalibrateOnImages(const CalibrateInput& input, const ImageIndex& images,
                                                    TeacherRunner& teacher, Progress* progress,
                                                    const std::function<absl::Status()>& keep_lease) {
  const SetDescription& description = input.description;
  const std::vector<RecordKey> sample = CalibrationSample(images.manifest(), input);
  ProfileBuilder builder(description.set.feature_id, description.set.levels,
                         description.feature.geometry.width);
  std::vector<FeatureRecord> measured;
  absl::Status first_error;
  for (size_t first = 0; first < sample.size();) {
    if (StopRequested()) return absl::CancelledError("stopped while calibrating; nothing was stored");
    std::vector<View> views;
    std::vector<size_t> numbers;
    for (; first < sample.size() && views.size() < teacher.micro_batch(); ++first) {
      const RecordKey& key = sample[first];
      const absl::StatusOr<RgbImage> image = images.ReadImage(key.image);
      if (!image.ok()) {
        if (first_error.ok()) first_error = WithContext(image.status(), images.NameOf(key.image));
        continue;
      }
      const ViewSpec& spec = description.feature.view;
      AFTERIMAGE_ASSIGN_OR_RETURN(
          View view, MakeView(*image, spec,
                              DrawViewGeometry(key.image, spec, key.view_seed, image->width, image->height)));
      views.push_back(std::move(view));
      numbers.push_back(first);
    }
    if (views.empty()) continue;
    AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<FeatureRecord> records,
                                teacher.Run(views, description.set.levels));
    for (size_t i = 0; i < records.size(); ++i) {
      const RecordKey& key = sample[numbers[i]];
      const absl::Status added = builder.Add(records[i]);
      if (!added.ok()) return WithContext(added, absl::StrCat("record ", key.ToString()));
      const size_t wanted = std::min(kMeasuredRecords, sample.size());
      if (numbers[i] * wanted / sample.size() == (numbers[i] + 1) * wanted / sample.size()) continue;
      absl::StatusOr<FeatureRecord> stored = RecodeRecord(description.set, key, std::move(records[i]));
      if (!stored.ok()) return WithContext(stored.status(), absl::StrCat("record ", key.ToString()));
      measured.push_back(*std::move(stored));
    }
    if (progress != nullptr) progress->Update(first);
    if (keep_lease) AFTERIMAGE_RETURN_IF_ERROR(keep_lease());
  }
  if (builder.num_records() == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "none of the images to calibrate on can be decoded; the first: ", first_error.message()));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(FeatureProfile profile, builder.Finish());
  CalibrationReport report;
  report.profile = std::make_shared<const FeatureProfile>(std::move(profile));
  report.meters = MakeMeters(*report.profile, description.set.pixel_coding);
  report.num_images = images.manifest().num_keys();
  report.source = Describe(sample, images, input);
  report.exact = CodecName(Codec::kF32);
  const auto measure = [&](std::vector<CodecMeter>& meters) {
    for (const FeatureRecord& record : measured) {
      for (CodecMeter& meter : meters) AFTERIMAGE_RETURN_IF_ERROR(meter.Add(record));
    }
    return absl::OkStatus();
  };
  AFTERIMAGE_RETURN_IF_ERROR(measure(report.meters));
  AFTERIMAGE_RETURN_IF_ERROR(
      MeasureFinerSteps(report, input.limits, description.set.pixel_coding, measure));
  report.num_also_calibrated = measured.size();
  return report;
}

Digest256 RequestDigest(const SetSpec& set, std::optional<Codec> codec, const CodecLimits& limits) {
  SetSpec undecided = set;
  undecided.codec = codec.value_or(Codec::kF32);
  undecided.profile_digest = {};
  Json request = {{"set", undecided.ToCanonical()}, {"version", 1}};
  const auto text = [](std::optional<double> limit) {
    return limit.has_value() ? Json(DecimalText(*limit)) : Json("none");
  };
  request["codec"] = codec.has_value() ? CodecName(*codec) : "any";
  request["max_rmse"] = text(limits.max_rmse);
  request["max_bytes"] = text(limits.max_bytes);
  return CanonicalDigest(request);
}

void CodecDecision::Tell(const std::string& text) const {
  if (options_.message) options_.message(text);
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> CodecDecision::Make(const ImageIndex& images,
                                                                          TeacherRunner& teacher,
                                                                          SetSpec& set) {
  request_ = RequestDigest(set, options_.codec, options_.limits);
  bool told = false;
  while (catalog_ != nullptr && !options_.recalibrate) {
    const absl::Duration lease = options_.plan_only ? absl::ZeroDuration() : options_.lease_duration;
    AFTERIMAGE_ASSIGN_OR_RETURN(const ChoiceClaim claim,
                                catalog_->ClaimChoice(request_, options_.worker, lease));
    if (claim.set_id.has_value()) {
      auto decided = TakeDecided(*claim.set_id, set);
      if (!absl::IsNotFound(decided.status())) return decided;
      Tell(absl::StrCat("set ", claim.set_id->Hex(), ", which this request led to, is gone: deciding again"));
      options_.recalibrate = true;
      break;
    }
    if (options_.plan_only || claim.holder == options_.worker) break;
    if (!told) Tell(absl::StrCat("worker ", claim.holder, " calibrates for this set; waiting for it"));
    told = true;
    WaitForStop(static_cast<int>(absl::ToInt64Milliseconds(options_.poll_interval)));
    if (StopRequested()) return absl::CancelledError("stopped before anything was computed");
  }
  if (options_.plan_only) return Calibrate(images, teacher, set);
  decides_ = true;
  renewed_ = absl::Now();
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> profile = Calibrate(images, teacher, set);
  if (profile.ok() || options_.recalibrate) return profile;
  // Gives the lease back; without that it runs out by itself.
  catalog_->ClaimChoice(request_, options_.worker, absl::ZeroDuration()).status().IgnoreError();
  return profile;
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> CodecDecision::TakeDecided(const Digest256& set_id,
                                                                                 SetSpec& set) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet decided, catalog_->OpenSet(set_id, OpenMode::kRead));
  const SetDescription& description = decided.store->description();
  set.codec = description.set.codec;
  set.profile_digest = description.set.profile_digest;
  return ProfileOfSet(*catalog_, description);
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> CodecDecision::Calibrate(const ImageIndex& images,
                                                                               TeacherRunner& teacher,
                                                                               SetSpec& set) {
  if (images.manifest().num_keys() < kEnoughCalibrationRecords) {
    Tell(absl::StrCat("calibrating on all views of the ", images.manifest().num_keys(), " images (at most ",
                      options_.input.samples, "): fewer than ", kEnoughCalibrationRecords,
                      " are few to predict other images from"));
  }
  Progress progress({.label = "calibrate",
                     .unit = "views",
                     .total = CalibrationSample(images.manifest(), options_.input).size(),
                     .style = options_.style});
  CalibrateInput input = options_.input;
  input.limits = options_.limits;
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const CalibrationReport report,
      CalibrateOnImages(input, images, teacher, &progress, [this] { return KeepLease(); }));
  progress.Finish();
  Codec codec = Codec::kF32;
  if (options_.codec.has_value()) {
    codec = *options_.codec;
  } else {
    AFTERIMAGE_ASSIGN_OR_RETURN(codec, ChooseCodec(report, options_.limits));
  }
  if (options_.report) options_.report(report, codec);
  set.codec = codec;
  set.profile_digest = {};
  if (!NeedsProfile(codec)) return std::shared_ptr<const FeatureProfile>();
  if (!options_.plan_only) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureProfile kept, ProfileWithFigures(report));
    AFTERIMAGE_RETURN_IF_ERROR(catalog_->PutProfile(kept));
  }
  set.profile_digest = report.profile->digest();
  return report.profile;
}

absl::Status CodecDecision::KeepLease() {
  if (options_.plan_only || options_.recalibrate || absl::Now() - renewed_ < options_.lease_duration / 4) {
    return absl::OkStatus();
  }
  renewed_ = absl::Now();
  return catalog_->ClaimChoice(request_, options_.worker, options_.lease_duration).status();
}

absl::Status CodecDecision::Publish(const Digest256& set_id) {
  if (!decides_) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 decided,
                              catalog_->DecideChoice(request_, set_id, options_.recalibrate));
  if (decided == set_id) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("while this worker calibrated, another one decided for set ",
                                         decided.Hex(), ": run the same command again to continue that one"));
}

}  // namespace afterimage
