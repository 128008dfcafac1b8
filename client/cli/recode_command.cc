// afterimage recode: a new set of the same features from an old one, without the teacher.
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "client/cli/command.h"
#include "client/flags/codec_check.h"
#include "core/base/json_text.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/base/version.h"
#include "core/feature/codec_error.h"
#include "core/feature/feature_block.h"
#include "core/feature/recode.h"

namespace afterimage::cli {
namespace {

constexpr size_t kKeysPerRead = 32;
constexpr uint64_t kRecordsPerMeasured = 100;  // what coding lost is measured on one in so many
constexpr absl::Duration kLeaseDuration = absl::Seconds(60);

struct RecodeFlags : CacheFlags {
  std::string from;
  std::string codec;
  std::string profile;
  std::vector<uint32_t> levels;
  std::string tokens;
  double mask_ratio = 0.7;
  std::string mask_type = "attention";
  uint32_t masks_per_view = 1;
  uint32_t mask_seed = 0;
  std::string pixels;
  uint32_t view_seeds = 0;
  std::string name;
  bool json = false;
};

struct Report {
  uint64_t records = 0;  // written by this run, failures included
  uint64_t failed = 0;
  uint64_t bytes = 0;
  uint64_t fallback_planes = 0;
};

// Everything that is not said is as in the source.
absl::StatusOr<SetDescription> DescribeTarget(const RecodeFlags& flags, FeatureCatalog& catalog,
                                              const SetDescription& source) {
  SetDescription target = source;
  SetSpec& set = target.set;
  AFTERIMAGE_ASSIGN_OR_RETURN(set.codec, ParseCodec(flags.codec));
  set.profile_digest = {};
  if (NeedsProfile(set.codec) || !flags.profile.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto profile, ResolveProfile(catalog, flags.profile));
    set.profile_digest = profile->digest();
  }
  if (!flags.levels.empty()) {
    set.levels = flags.levels;
    std::ranges::sort(set.levels);
  }
  if (!flags.pixels.empty()) AFTERIMAGE_RETURN_IF_ERROR(SetPixels(flags.pixels, set));
  if (flags.tokens == "all") set.token_policy = TokenPolicy::kAll;
  if (flags.tokens == "visible" && source.set.token_policy == TokenPolicy::kAll) {
    const uint32_t num_patches = target.feature.geometry.num_patches();
    set.token_policy = TokenPolicy::kVisible;
    set.mask.type = flags.mask_type == "random" ? MaskSpec::Type::kRandom : MaskSpec::Type::kAttention;
    set.mask.num_visible = NumVisible(num_patches, flags.mask_ratio);
    set.mask.mask_seed = flags.mask_seed;
    set.mask.num_masks = flags.masks_per_view;
    if (set.mask.num_visible == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--mask-ratio ", flags.mask_ratio, " leaves none of ",
                                                     num_patches, " patches visible: choose a smaller one"));
    }
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckRecoding(source.set, set));
  AFTERIMAGE_RETURN_IF_ERROR(target.Validate());
  if (set.Id() != source.set.Id()) return target;
  return absl::InvalidArgumentError(absl::StrCat("what is asked for is set ", set.Id().Hex(),
                                                 " itself: give another codec, levels, tokens or pixels"));
}

// Recodes one unit after the other until all are there.
class Recoder {
 public:
  Recoder(const OpenedSet& source, const OpenedSet& target, Progress* progress)
      : source_(source), target_(target), progress_(progress) {
    worker_ = absl::StrCat("recode-", getpid(), "-", absl::ToUnixMillis(absl::Now()));
  }

  const Report& report() const { return report_; }

  // `already_done`: of the progress.
  absl::Status Run(const Digest256& manifest, uint32_t num_view_seeds, uint64_t already_done) {
    already_done_ = already_done;
    ClaimRequest request;
    request.manifest = manifest;
    request.num_view_seeds = num_view_seeds;
    request.worker = worker_;
    request.lease_duration = kLeaseDuration;
    while (!StopRequested()) {
      AFTERIMAGE_ASSIGN_OR_RETURN(const ClaimResult claimed, target_.ledger->Claim(request));
      if (claimed.all_complete) return absl::OkStatus();
      if (claimed.units.empty()) WaitForStop(1000);  // others have the rest
      for (const ClaimedUnit& unit : claimed.units) {
        const absl::Status status = RecodeUnit(unit);
        if (status.ok()) continue;
        target_.ledger->Release(unit.lease).IgnoreError();  // it expires by itself
        return status;
      }
    }
    return Stopped();
  }

 private:
  absl::Status Stopped() const {
    return absl::CancelledError(absl::StrCat("stopped: ", report_.records,
                                             " records are published; run the same command again to go on"));
  }

  absl::Status RecodeUnit(const ClaimedUnit& unit) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<UnitWriter> writer,
                                target_.publisher->Open(unit.lease));
    UnitMetadata metadata;
    metadata.worker = worker_;
    metadata.device = absl::StrCat("recoded from set ", source_.id.Hex());
    metadata.library_versions = absl::StrCat("afterimage ", Version());
    metadata.num_threads = 1;
    absl::Time renewed = absl::Now();
    Report of_unit;
    errors_.clear();
    for (size_t first = 0; first < unit.wanted.size(); first += kKeysPerRead) {
      if (StopRequested()) return Stopped();
      const std::span<const RecordKey> keys =
          std::span(unit.wanted).subspan(first, std::min(kKeysPerRead, unit.wanted.size() - first));
      AFTERIMAGE_RETURN_IF_ERROR(AddRecords(keys, *writer, of_unit));
      progress_->Update(already_done_ + report_.records + of_unit.records);
      if (absl::Now() - renewed < kLeaseDuration / 4) continue;
      AFTERIMAGE_RETURN_IF_ERROR(target_.ledger->Renew(unit.lease, kLeaseDuration).status());
      renewed = absl::Now();
    }
    metadata.errors = errors_;
    metadata.num_records = of_unit.records - of_unit.failed;
    metadata.num_failed = of_unit.failed;
    AFTERIMAGE_ASSIGN_OR_RETURN(const PublishReport published, writer->Publish(metadata));
    report_.records += of_unit.records;
    report_.failed += of_unit.failed;
    report_.fallback_planes += of_unit.fallback_planes;
    report_.bytes += published.bytes_written;
    return absl::OkStatus();
  }

  absl::Status AddRecords(std::span<const RecordKey> keys, UnitWriter& writer, Report& of_unit) {
    absl::Status added;
    const absl::Status read = source_.store->Read(keys, {}, {}, [&](size_t index, RecordResult result) {
      added = AddRecord(keys[index], result, writer, of_unit);
      return added.ok();
    });
    AFTERIMAGE_RETURN_IF_ERROR(added);
    return read;
  }

  absl::Status AddRecord(const RecordKey& key, const RecordResult& result, UnitWriter& writer,
                         Report& of_unit) {
    std::string encoded;
    switch (result.state) {
      case RecordState::kMissing:
        return absl::FailedPreconditionError(
            absl::StrCat("record ", key.ToString(),
                         " is not in the source yet: let afterimage-precompute complete it, or recode fewer "
                         "--view-seeds"));
      case RecordState::kDamaged:
        return absl::DataLossError(absl::StrCat(
            result.reason, "; repair the source first: afterimage verify --repair, then precompute"));
      case RecordState::kFailed:
        encoded = EncodeFailedBlock(
            absl::StripPrefix(result.reason, absl::StrCat("record ", key.ToString(), ": ")));
        ++of_unit.failed;
        break;
      case RecordState::kOk: {
        AFTERIMAGE_ASSIGN_OR_RETURN(encoded, Recoded(key, result.block.bytes, of_unit));
        break;
      }
    }
    ++of_unit.records;
    return writer.Add(key, AsBytes(encoded));
  }

  absl::StatusOr<std::string> Recoded(const RecordKey& key, ByteSpan stored, Report& of_unit) {
    const SetSpec& set = target_.store->description().set;
    const auto recode = [&]() -> absl::StatusOr<std::string> {
      AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block,
                                  FeatureBlock::Parse(stored, source_.store->profile()));
      AFTERIMAGE_ASSIGN_OR_RETURN(FeatureRecord record, block.ToRecord());
      AFTERIMAGE_ASSIGN_OR_RETURN(record, RecodeRecord(set, key, std::move(record)));
      if (of_unit.records % kRecordsPerMeasured == 0) {
        CodecMeter meter(set.codec, target_.store->profile());
        AFTERIMAGE_RETURN_IF_ERROR(meter.Add(record));
        AddErrors(meter.Sampled(), errors_);
      }
      return EncodeFeatureBlock(record, set.codec, target_.store->profile(), set.pixel_coding);
    };
    absl::StatusOr<std::string> encoded = recode();
    if (!encoded.ok()) return WithContext(encoded.status(), absl::StrCat("record ", key.ToString()));
    AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(*encoded)));
    of_unit.fallback_planes += block.num_fallback_planes();
    return encoded;
  }

  const OpenedSet& source_;
  const OpenedSet& target_;
  Progress* const progress_;
  std::string worker_;
  uint64_t already_done_ = 0;
  std::vector<SampledError> errors_;  // of the unit, against what the source gives
  Report report_;
};

void PrintSummary(const RecodeFlags& flags, const Digest256& source, const Digest256& target,
                  const Report& report) {
  if (flags.json) {
    std::cout << JsonText({{"event", "summary"},
                           {"from", source.Hex()},
                           {"set", target.Hex()},
                           {"records", report.records},
                           {"failed", report.failed},
                           {"bytes", report.bytes},
                           {"fallback_planes", report.fallback_planes}})
              << "\n";
    return;
  }
  std::cout << absl::StrFormat("set       %s%s\ndone      %d records (%d failed), %s, from set %s\n",
                               target.Hex(), flags.name.empty() ? "" : " (" + flags.name + ")",
                               report.records, report.failed, HumanBytes(report.bytes), source.Hex());
  if (report.fallback_planes > 0) {
    std::cout << absl::StrFormat("WARNING   %d planes did not fit the profile and are stored as f16\n",
                                 report.fallback_planes);
  }
}

absl::Status RunRecode(const RecodeFlags& flags) {
  InstallStopSignalHandlers();
  AFTERIMAGE_ASSIGN_OR_RETURN(const SelectedSet source, OpenSelectedSet(flags, flags.from));
  FeatureCatalog& catalog = *source.cache.catalog;
  AFTERIMAGE_ASSIGN_OR_RETURN(const SetDescription description,
                              DescribeTarget(flags, catalog, source.summary.description));
  const uint32_t num_view_seeds = flags.view_seeds != 0 ? flags.view_seeds : source.summary.num_view_seeds;
  if (num_view_seeds == 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "set ", source.summary.id.Hex(), " holds no complete unit yet: wait for afterimage-precompute"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(catalog.CreateSet(description).status());
  const Digest256 id = description.set.Id();
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet target, catalog.OpenSet(id, OpenMode::kContribute));
  if (!flags.name.empty()) AFTERIMAGE_RETURN_IF_ERROR(catalog.SetName(flags.name, id, false));

  uint64_t total = 0;
  std::vector<uint64_t> present;
  for (const Digest256& manifest : source.summary.manifests) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const LedgerProgress before,
                                target.ledger->Progress(manifest, num_view_seeds));
    total += before.records_total;
    present.push_back(before.records_present);
  }
  uint64_t already_done = 0;
  for (const uint64_t count : present) already_done += count;
  Progress progress({.label = "recode",
                     .unit = "records",
                     .total = total,
                     .already_done = already_done,
                     .style = flags.json ? Progress::Style::kJson : Progress::Style::kAutomatic});
  Recoder recoder(source.set, target, &progress);
  for (const Digest256& manifest : source.summary.manifests) {
    AFTERIMAGE_RETURN_IF_ERROR(recoder.Run(manifest, num_view_seeds, already_done));
  }
  progress.Finish();
  PrintSummary(flags, source.summary.id, id, recoder.report());
  return absl::OkStatus();
}

}  // namespace

void AddRecodeCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<RecodeFlags>();
  CLI::App* command = app.add_subcommand(
      "recode",
      "a new set of the same features from an old one: another codec, fewer levels, visible tokens");
  AddCacheFlags(*command, *flags);
  command->add_option("--from", flags->from,
                      "name or id of the set to read (may be left out when there is one)");
  command->add_option("--codec", flags->codec, "codec of the new set")->required()->check(IsCodecName());
  command->add_option(
      "--profile", flags->profile,
      "for codecs that need one: name or digest (may be left out when there is one); for others: of "
      "what --wire-encoding asks for");
  command
      ->add_option("--levels", flags->levels, "levels to keep, such as 8,10,12 (default: all of the source)")
      ->delimiter(',');
  command
      ->add_option("--tokens", flags->tokens,
                   "all, or the visible ones of masks drawn now (default: as the source)")
      ->check(CLI::IsMember({"all", "visible"}));
  command
      ->add_option("--mask-ratio", flags->mask_ratio, "share of patches hidden (all tokens to visible ones)")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--mask-type", flags->mask_type, "what masks are drawn from")
      ->check(CLI::IsMember({"attention", "random"}))
      ->capture_default_str();
  command->add_option("--masks", flags->masks_per_view, "masks per view")
      ->check(CLI::Range(1u, 1024u))
      ->capture_default_str();
  command->add_option("--mask-seed", flags->mask_seed, "seed of the masks")->capture_default_str();
  command->add_option("--pixels", flags->pixels, "packed without loss, raw, or none (default: as the source)")
      ->check(CLI::IsMember(PixelsNames()));
  command->add_option("--view-seeds", flags->view_seeds, "how many view seeds (0 = all of the source)")
      ->capture_default_str();
  command->add_option("--name", flags->name, "readable name for the new set");
  command->add_flag("--json", flags->json, "summary and progress as JSON lines");
  command->callback([flags, &run] { run = [flags] { return RunRecode(*flags); }; });
}

}  // namespace afterimage::cli
