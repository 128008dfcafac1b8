// afterimage calibrate: a profile from stored records, and what each codec would cost and lose.
#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/feature/codec_error.h"
#include "core/feature/feature_block.h"
#include "core/feature/profile_builder.h"

namespace afterimage::cli {
namespace {

constexpr uint64_t kKeysPerRead = 32;
constexpr uint64_t kMeasuredRecords = 256;
// Fewer were visibly too few in a study: single values lay far outside what had been seen.
constexpr uint64_t kEnoughRecords = 1000;

struct CalibrateFlags {
  std::string cache;
  std::string from;
  uint64_t samples = 2000;
  std::string name;
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

// Calls `use` with each record of `numbers`, in order; those that are missing, damaged or failed are left
// out.
absl::Status ForEachRecord(const Source& source, const std::set<uint64_t>& numbers, absl::string_view label,
                           bool json, const std::function<absl::Status(const FeatureRecord&)>& use) {
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
        return use(record);
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
  AFTERIMAGE_ASSIGN_OR_RETURN(source.selected, OpenSelectedSet({flags.cache, flags.from}));
  const SetSummary& summary = source.selected.summary;
  const Codec codec = summary.description.set.codec;
  if (codec != Codec::kF16 && codec != Codec::kF32) {
    return absl::FailedPreconditionError(absl::StrCat(
        "set ", summary.id.Hex(), " is of codec ", CodecName(codec), ": calibrate from one of f16 or f32"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(source.keys, KeysOfSet(*source.selected.cache.catalog, summary));
  if (source.keys.empty() || summary.num_view_seeds == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "set ", summary.id.Hex(), " holds no complete unit yet: wait for afterimage-precompute"));
  }
  return source;
}

// So that a name which cannot be given is told before the work.
absl::Status CheckName(FeatureCatalog& catalog, const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(ValidateName(name));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto names, catalog.ListNames());
  const auto taken = names.find(name);
  if (taken == names.end()) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat("the name \"", name, "\" stands for ", taken->second.Hex(),
                                               "; choose another, or remove it: afterimage names --remove ",
                                               name));
}

void PrintRow(const std::string& codec, const std::string& level, const CodecError& error) {
  std::cout << absl::StrFormat("%-6s %-6s %12.4f %10.5f %10.4f %14.6f", codec, level, error.BytesPerValue(),
                               error.Rmse(), error.largest, error.worst_cosine);
  if (error.num_fallback_planes > 0) {
    std::cout << absl::StrFormat("   %d of %d planes as f16", error.num_fallback_planes, error.num_planes);
  }
  std::cout << "\n";
}

void PrintReport(const FeatureProfile& profile, const Source& source, const std::vector<CodecMeter>& meters,
                 uint64_t num_also_calibrated) {
  const ProfileContent& content = profile.content();
  const SetSummary& summary = source.selected.summary;
  std::cout << absl::StrFormat(
      "profile  %s\n  feature  %s\n  from     %d records, %d tokens of set %s (%s)\n", profile.digest().Hex(),
      content.feature_id.Hex(), content.num_records, content.num_rows, summary.id.Hex(),
      CodecName(summary.description.set.codec));
  std::cout << absl::StrFormat(
      "  measured on %d records, of which %d were calibrated on too; errors are those against the stored "
      "%s\n",
      meters.front().num_records(), num_also_calibrated, CodecName(summary.description.set.codec));
  if (content.num_records < kEnoughRecords) {
    std::cout << absl::StrFormat(
        "  NOTE     %d records are few: from %d on what is predicted can be relied upon\n",
        content.num_records, kEnoughRecords);
  }
  std::cout << absl::StrFormat("%-6s %-6s %12s %10s %10s %14s\n", "codec", "level", "bytes/value", "RMSE",
                               "largest", "worst cosine");
  for (const CodecMeter& meter : meters) {
    for (const auto& [level, error] : meter.levels())
      PrintRow(CodecName(meter.codec()), absl::StrCat(level), error);
    PrintRow(CodecName(meter.codec()), "all", meter.Total());
  }
  for (const CodecMeter& meter : meters) {
    const uint64_t per_seed =
        static_cast<uint64_t>(meter.BytesPerRecord() * static_cast<double>(source.keys.size()));
    std::cout << absl::StrFormat(
        "%-6s %s a record, %s for %d images per view seed, as this set keeps tokens and pixels\n",
        CodecName(meter.codec()), HumanBytes(static_cast<uint64_t>(meter.BytesPerRecord())),
        HumanBytes(per_seed), source.keys.size());
  }
}

Json ToJson(const CodecError& error) {
  return {{"bytes_per_value", error.BytesPerValue()},
          {"rmse", error.Rmse()},
          {"largest_error", error.largest},
          {"worst_token_cosine", error.worst_cosine},
          {"planes", error.num_planes},
          {"fallback_planes", error.num_fallback_planes}};
}

void PrintJson(const FeatureProfile& profile, const Source& source, const std::vector<CodecMeter>& meters,
               uint64_t num_also_calibrated) {
  Json codecs = Json::array();
  for (const CodecMeter& meter : meters) {
    Json levels = Json::object();
    for (const auto& [level, error] : meter.levels()) levels[absl::StrCat(level)] = ToJson(error);
    codecs.push_back(
        {{"codec", CodecName(meter.codec())},
         {"bytes_per_record", meter.BytesPerRecord()},
         {"bytes_per_view_seed", meter.BytesPerRecord() * static_cast<double>(source.keys.size())},
         {"all", ToJson(meter.Total())},
         {"levels", levels}});
  }
  std::cout << Json{{"event", "calibration"},
                    {"profile", profile.digest().Hex()},
                    {"feature_id", profile.feature_id().Hex()},
                    {"set", source.selected.summary.id.Hex()},
                    {"records", profile.content().num_records},
                    {"rows", profile.content().num_rows},
                    {"measured_records", meters.front().num_records()},
                    {"measured_and_calibrated_records", num_also_calibrated},
                    {"images", source.keys.size()},
                    {"codecs", codecs}}
                   .dump()
            << "\n";
}

absl::Status RunCalibrate(const CalibrateFlags& flags) {
  InstallStopSignalHandlers();
  AFTERIMAGE_ASSIGN_OR_RETURN(const Source source, OpenSource(flags));
  FeatureCatalog& catalog = *source.selected.cache.catalog;
  const SetDescription& description = source.selected.summary.description;
  AFTERIMAGE_RETURN_IF_ERROR(CheckName(catalog, flags.name));
  const Sample sample =
      ChooseSample(source.keys.size() * uint64_t{source.selected.summary.num_view_seeds}, flags.samples);

  ProfileBuilder builder(description.set.feature_id, description.set.levels,
                         description.feature.geometry.width);
  AFTERIMAGE_RETURN_IF_ERROR(ForEachRecord(source, sample.calibrated, "calibrate", flags.json,
                                           [&](const FeatureRecord& record) { return builder.Add(record); }));
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureProfile profile, builder.Finish());

  std::vector<CodecMeter> meters;
  for (const Codec codec : kAllCodecs) meters.emplace_back(codec, NeedsProfile(codec) ? &profile : nullptr);
  AFTERIMAGE_RETURN_IF_ERROR(ForEachRecord(source, sample.measured, "measure", flags.json,
                                           [&](const FeatureRecord& record) -> absl::Status {
                                             for (CodecMeter& meter : meters)
                                               AFTERIMAGE_RETURN_IF_ERROR(meter.Add(record));
                                             return absl::OkStatus();
                                           }));

  AFTERIMAGE_RETURN_IF_ERROR(catalog.PutProfile(profile));
  if (!flags.name.empty()) AFTERIMAGE_RETURN_IF_ERROR(catalog.SetName(flags.name, profile.digest(), false));
  const uint64_t num_also_calibrated = static_cast<uint64_t>(std::ranges::count_if(
      sample.measured, [&](uint64_t number) { return sample.calibrated.contains(number); }));
  (flags.json ? PrintJson : PrintReport)(profile, source, meters, num_also_calibrated);
  return absl::OkStatus();
}

}  // namespace

void AddCalibrateCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<CalibrateFlags>();
  CLI::App* command = app.add_subcommand(
      "calibrate", "a profile from stored records, for the codec i8x; and what each codec costs and loses");
  command->add_option("--cache", flags->cache, "folder, unix:PATH or grpc://HOST:PORT")->required();
  command->add_option("--from", flags->from,
                      "name or id of a set of codec f16 or f32 (may be left out when there is one set)");
  command
      ->add_option("--samples", flags->samples, "records to calibrate on, spread over images and view seeds")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 24))
      ->capture_default_str();
  command->add_option("--name", flags->name, "readable name for the profile");
  command->add_flag("--json", flags->json, "report and progress as JSON lines");
  command->callback([flags, &run] { run = [flags] { return RunCalibrate(*flags); }; });
}

}  // namespace afterimage::cli
