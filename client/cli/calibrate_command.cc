// afterimage calibrate: a profile from stored records, and what each codec would cost and lose.
#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/rate_picture.h"
#include "core/base/json_text.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/feature/calibration_report.h"
#include "core/feature/feature_block.h"
#include "core/feature/finer_steps.h"
#include "core/feature/profile_builder.h"

namespace afterimage::cli {
namespace {

constexpr uint64_t kKeysPerRead = 32;
constexpr uint64_t kMeasuredRecords = 256;

struct CalibrateFlags : CacheFlags {
  std::string from;
  uint64_t samples = 2000;
  std::string name;
  std::optional<double> max_rmse;
  std::string max_bytes;  // as written, such as 1.5TB
  std::string png;
  bool json = false;
};

// Which records are read: of seed-major numbers 0 .. num_keys * num_view_seeds - 1.
struct Sample {
  std::set<uint64_t> calibrated;  // spread evenly over all
  std::set<uint64_t> measured;    // likewise, half a step off: others, where there are enough
};

Sample ChooseSample(uint64_t total, uint64_t samples) {
  Sample sample;
  const uint64_t num_calibrated = std::min(samples, total);
  for (uint64_t i = 0; i < num_calibrated; ++i) sample.calibrated.insert(i * total / num_calibrated);
  const uint64_t num_measured = std::min(kMeasuredRecords, total);
  for (uint64_t i = 0; i < num_measured; ++i)
    sample.measured.insert((2 * i + 1) * total / (2 * num_measured));
  return sample;
}

struct Source {
  SelectedSet selected;
  std::vector<ImageKey> keys;
};

// Calls `use` with number and record of each of `numbers`, in order; those that are missing, damaged or
// failed are left out.
absl::Status ForEachRecord(const Source& source, const std::set<uint64_t>& numbers, absl::string_view label,
                           bool json,
                           const std::function<absl::Status(uint64_t, const FeatureRecord&)>& use) {
  FeatureStore& store = *source.selected.set.store;
  const std::vector<uint64_t> all(numbers.begin(), numbers.end());
  Progress progress({.label = std::string(label),
                     .unit = "records",
                     .total = all.size(),
                     .style = json ? Progress::Style::kJson : Progress::Style::kAutomatic});
  // Pixels are nothing to a codec; a set without them has to be asked so.
  const Selection selection = {.pixels = store.description().set.pixels};
  for (size_t first = 0; first < all.size(); first += kKeysPerRead) {
    std::vector<RecordKey> wanted;
    for (size_t i = first; i < std::min<size_t>(all.size(), first + kKeysPerRead); ++i) {
      wanted.push_back(
          {source.keys[all[i] % source.keys.size()], static_cast<uint32_t>(all[i] / source.keys.size())});
    }
    absl::Status used;
    const absl::Status read = store.Read(wanted, selection, {}, [&](size_t index, RecordResult result) {
      if (result.state != RecordState::kOk) return true;
      used = [&]() -> absl::Status {
        AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block,
                                    FeatureBlock::Parse(result.block.bytes, store.profile()));
        AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureRecord record, block.ToRecord());
        return use(all[first + index], record);
      }();
      used = WithContext(used, absl::StrCat("record ", wanted[index].ToString()));
      return used.ok();
    });
    AFTERIMAGE_RETURN_IF_ERROR(used);
    AFTERIMAGE_RETURN_IF_ERROR(read);
    progress.Update(first + wanted.size());
    if (StopRequested()) return absl::CancelledError("stopped; no profile was stored");
  }
  progress.Finish();
  return absl::OkStatus();
}

absl::StatusOr<Source> OpenSource(const CalibrateFlags& flags) {
  Source source;
  AFTERIMAGE_ASSIGN_OR_RETURN(source.selected, OpenSelectedSet(flags, flags.from));
  const SetSummary& summary = source.selected.summary;
  const Codec codec = summary.description.set.codec;
  if (RowCodec(codec) != Codec::kF16 && codec != Codec::kF32) {
    return absl::FailedPreconditionError(absl::StrCat("set ", summary.id.Hex(), " is of codec ",
                                                      CodecName(codec),
                                                      ": calibrate from one of f16, lossless16 or f32"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(source.keys, KeysOfSet(*source.selected.cache.catalog, summary));
  if (source.keys.empty() || summary.num_view_seeds == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "set ", summary.id.Hex(), " holds no complete unit yet: wait for afterimage-precompute"));
  }
  return source;
}

absl::Status RunCalibrate(const CalibrateFlags& flags) {
  InstallStopSignalHandlers();
  AFTERIMAGE_ASSIGN_OR_RETURN(const CodecLimits limits, ParseCodecLimits(flags.max_rmse, flags.max_bytes));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Source source, OpenSource(flags));
  FeatureCatalog& catalog = *source.selected.cache.catalog;
  const SetDescription& description = source.selected.summary.description;
  AFTERIMAGE_RETURN_IF_ERROR(CheckNameIsFree(catalog, flags.name));
  const Sample sample =
      ChooseSample(source.keys.size() * uint64_t{source.selected.summary.num_view_seeds}, flags.samples);

  ProfileBuilder builder(description.set.feature_id, description.set.levels,
                         description.feature.geometry.width);
  AFTERIMAGE_RETURN_IF_ERROR(
      ForEachRecord(source, sample.calibrated, "calibrate", flags.json,
                    [&](uint64_t, const FeatureRecord& record) { return builder.Add(record); }));
  AFTERIMAGE_ASSIGN_OR_RETURN(FeatureProfile profile, builder.Finish());

  CalibrationReport report;
  report.profile = std::make_shared<const FeatureProfile>(std::move(profile));
  report.meters = MakeMeters(*report.profile, description.set.pixel_coding);
  report.num_images = source.keys.size();
  report.source = absl::StrCat("set ", source.selected.summary.id.Hex());
  report.exact = CodecName(description.set.codec);
  AFTERIMAGE_RETURN_IF_ERROR(ForEachRecord(source, sample.measured, "measure", flags.json,
                                           [&](uint64_t number, const FeatureRecord& record) -> absl::Status {
                                             if (sample.calibrated.contains(number))
                                               ++report.num_also_calibrated;
                                             for (CodecMeter& meter : report.meters)
                                               AFTERIMAGE_RETURN_IF_ERROR(meter.Add(record));
                                             return absl::OkStatus();
                                           }));
  AFTERIMAGE_RETURN_IF_ERROR(
      MeasureFinerSteps(report, limits, description.set.pixel_coding, [&](std::vector<CodecMeter>& meters) {
        return ForEachRecord(source, sample.measured, "measure steps", flags.json,
                             [&](uint64_t, const FeatureRecord& record) -> absl::Status {
                               for (CodecMeter& meter : meters) AFTERIMAGE_RETURN_IF_ERROR(meter.Add(record));
                               return absl::OkStatus();
                             });
      }));

  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureProfile kept, ProfileWithFigures(report));
  AFTERIMAGE_RETURN_IF_ERROR(catalog.PutProfile(kept));
  if (!flags.name.empty())
    AFTERIMAGE_RETURN_IF_ERROR(catalog.SetName(flags.name, report.profile->digest(), false));
  if (!flags.png.empty()) AFTERIMAGE_RETURN_IF_ERROR(WriteRatePicture(report, flags.png));
  std::optional<Codec> chosen;
  absl::Status none;
  if (limits.max_rmse.has_value() || limits.max_bytes.has_value()) {
    const absl::StatusOr<Codec> codec = ChooseCodec(report, limits);
    if (codec.ok()) chosen = *codec;
    none = codec.status();
  }
  std::cout << (flags.json ? JsonText(ToJson(report, chosen)) + "\n" : ToText(report, chosen));
  return none;
}

}  // namespace

void AddCalibrateCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<CalibrateFlags>();
  CLI::App* command = app.add_subcommand(
      "calibrate",
      "a profile from stored records, for codecs that need one; and what each codec costs and loses");
  AddCacheFlags(*command, *flags);
  command->add_option(
      "--from", flags->from,
      "name or id of a set of codec f16, lossless16 or f32 (may be left out when there is one set)");
  command
      ->add_option("--samples", flags->samples, "records to calibrate on, spread over images and view seeds")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 24))
      ->capture_default_str();
  command->add_option("--name", flags->name, "readable name for the profile");
  command->add_option("--max-rmse", flags->max_rmse, "says which codec this error would take");
  command->add_option("--max-bytes", flags->max_bytes,
                      "says which codec these bytes per view seed would take, e.g. 100GB");
  command->add_option("--png", flags->png, "write a picture of rates and errors to this file");
  command->add_flag("--json", flags->json, "report and progress as JSON lines");
  command->callback([flags, &run] { run = [flags] { return RunCalibrate(*flags); }; });
}

}  // namespace afterimage::cli
