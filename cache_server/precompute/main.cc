// afterimage-precompute: fills a cache with what a teacher sees.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "cache_server/precompute/calibrate.h"
#include "cache_server/precompute/importance_source.h"
#include "cache_server/precompute/pipeline.h"
#include "cache_server/precompute/plan.h"
#include "cache_server/precompute/precompute_options.h"
#include "client/open_cache.h"
#include "client/rate_picture.h"
#include "core/base/allocator.h"
#include "core/base/byte_size.h"
#include "core/base/json_text.h"
#include "core/base/openmp.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/base/usage_error.h"
#include "core/base/version.h"
#include "core/feature/image_index.h"

namespace afterimage {
namespace {

Progress::Style StyleOf(const PrecomputeOptions& options) {
  if (options.quiet) return Progress::Style::kSilent;
  return options.json ? Progress::Style::kJson : Progress::Style::kAutomatic;
}

std::string DefaultWorkerName() {
  char host[256] = "host";
  gethostname(host, sizeof(host) - 1);
  return absl::StrCat(host, "-", getpid(), "-", absl::ToUnixMillis(absl::Now()));
}

absl::StatusOr<std::unique_ptr<ImageIndex>> IndexImages(const PrecomputeOptions& options, int threads) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<ImageSource> source, OpenImageSource(options.images, options.limit));
  Progress progress({.label = "index", .unit = "images", .total = source->size(), .style = StyleOf(options)});
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<ImageIndex> index,
                              ImageIndex::Build(std::move(source), threads, [&](size_t done) {
                                progress.Update(done);
                                return !StopRequested();
                              }));
  progress.Finish();
  return index;
}

void PrintSummary(const PrecomputeOptions& options, const Digest256& set_id, const Manifest& manifest,
                  const PipelineReport& report) {
  const double seconds = absl::ToDoubleSeconds(report.elapsed);
  if (options.json) {
    std::cout << JsonText({{"event", "summary"},
                           {"set", set_id.Hex()},
                           {"manifest", manifest.digest().Hex()},
                           {"records", report.records},
                           {"failed", report.failed},
                           {"units", report.units},
                           {"bytes", report.bytes},
                           {"seconds", seconds},
                           {"teacher_busy_seconds", absl::ToDoubleSeconds(report.teacher_busy)},
                           {"fallback_planes", report.fallback_planes},
                           {"duplicates_equal", report.duplicates_equal},
                           {"duplicates_different", report.duplicates_different},
                           {"units_lost", report.units_lost}})
              << std::endl;
    return;
  }
  std::cout << absl::StrFormat("set       %s%s\nmanifest  %s\n", set_id.Hex(), options.name.empty() ? "" : " (" + options.name + ")",
                               manifest.digest().Hex());
  std::cout << absl::StrFormat("done      %d records (%d failed) in %d units, %s, %s, teacher busy %.0f %%\n", report.records,
                               report.failed, report.units, HumanBytes(report.bytes), HumanDuration(report.elapsed),
                               seconds > 0 ? 100 * absl::ToDoubleSeconds(report.teacher_busy) / seconds : 0.0);
  if (report.failed > 0) std::cout << "          list them: afterimage info --cache " << options.cache << " --failures\n";
  if (report.fallback_planes > 0) {
    std::cout << absl::StrFormat(
        "WARNING   %d planes did not fit the profile and are stored as f16: has teacher or preprocessing "
        "changed since it was calibrated?\n",
        report.fallback_planes);
  }
  if (report.duplicates_different > 0) {
    std::cout << absl::StrFormat("WARNING   %d records were computed twice with different bits: the teacher is not deterministic\n",
                                 report.duplicates_different);
  }
  std::cout << "next      afterimage-train pretrain --cache " << options.cache << " --out RUN" << std::endl;
}

// The set that importance is taken from becomes part of the description.
absl::Status OpenImportanceSource(const PrecomputeOptions& options, const OpenedCache& cache, SetDescription& description,
                                  std::shared_ptr<FeatureStore>& store) {
  if (cache.catalog == nullptr) return absl::NotFoundError(absl::StrCat("there is no cache at ", options.cache, " yet"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const SetSummary source, ResolveSet(*cache.catalog, options.importance_from));
  AFTERIMAGE_RETURN_IF_ERROR(NameImportanceSource(source, description));
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set, cache.catalog->OpenSet(source.id, OpenMode::kRead));
  store = set.store;
  return absl::OkStatus();
}

// Null without --profile.
absl::StatusOr<std::shared_ptr<const FeatureProfile>> FindProfile(const PrecomputeOptions& options) {
  if (options.profile.empty()) return nullptr;
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedCache cache, OpenCache(options.cache, {.access = options.access}));
  return ResolveProfile(*cache.catalog, options.profile);
}

void PrintReport(const PrecomputeOptions& options, const CalibrationReport& report,
                 std::optional<Codec> taken) {
  // Who asked for the features, not for the report, gets a row per codec.
  const ReportRows rows = options.calibrate_only ? ReportRows::kLevels : ReportRows::kTotals;
  std::cout << (options.json ? JsonText(ToJson(report, taken)) + "\n" : ToText(report, taken, rows))
            << std::flush;
}

// A plan leaves nothing behind, and looks at fewer views.
absl::StatusOr<CodecDecision> MakeDecision(const PrecomputeOptions& options, FeatureCatalog* catalog,
                                           const SetDescription& description) {
  constexpr uint64_t kPlanSamples = 64;
  CodecDecision::Options decision{.input = {description, options.num_view_seeds, options.samples},
                                  .recalibrate = options.recalibrate,
                                  .plan_only = options.plan_only,
                                  .worker = options.worker,
                                  .lease_duration = absl::Seconds(options.lease_seconds),
                                  .style = StyleOf(options)};
  if (options.plan_only) decision.input.samples = std::min(options.samples, kPlanSamples);
  AFTERIMAGE_ASSIGN_OR_RETURN(decision.codec, NamedCodec(options));
  AFTERIMAGE_ASSIGN_OR_RETURN(decision.limits, ParseCodecLimits(options.max_rmse, options.max_bytes));
  if (!options.quiet) {
    decision.message = [json = options.json](const std::string& text) {
      std::cerr << (json ? JsonText({{"event", "note"}, {"text", text}}) : text) << std::endl;
    };
  }
  decision.report = [options](const CalibrationReport& report, Codec codec) {
    PrintReport(options, report, codec);
  };
  return CodecDecision(catalog, std::move(decision));
}

// The subcommand calibrate: a profile and its report, and no set.
absl::Status CalibrateOnly(const PrecomputeOptions& options, FeatureCatalog& catalog,
                           const SetDescription& description, const ImageIndex& images,
                           TeacherRunner& teacher) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckNameIsFree(catalog, options.name));
  AFTERIMAGE_ASSIGN_OR_RETURN(const CodecLimits limits,
                              ParseCodecLimits(options.max_rmse, options.max_bytes));
  const CalibrateInput input{description, options.num_view_seeds, options.samples, limits};
  Progress progress({.label = "calibrate",
                     .unit = "views",
                     .total = CalibrationSample(images.manifest(), input).size(),
                     .style = StyleOf(options)});
  AFTERIMAGE_ASSIGN_OR_RETURN(const CalibrationReport report,
                              CalibrateOnImages(input, images, teacher, &progress));
  progress.Finish();
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureProfile kept, ProfileWithFigures(report));
  AFTERIMAGE_RETURN_IF_ERROR(catalog.PutProfile(kept));
  if (!options.png.empty()) AFTERIMAGE_RETURN_IF_ERROR(WriteRatePicture(report, options.png));
  if (!options.name.empty()) {
    AFTERIMAGE_RETURN_IF_ERROR(catalog.SetName(options.name, report.profile->digest(), false));
  }
  if (!limits.max_rmse.has_value() && !limits.max_bytes.has_value()) {
    PrintReport(options, report, std::nullopt);
    return absl::OkStatus();
  }
  const absl::StatusOr<Codec> codec = ChooseCodec(report, limits);
  PrintReport(options, report, codec.ok() ? std::optional<Codec>(*codec) : std::nullopt);
  return codec.status();
}

absl::Status Run(PrecomputeOptions options) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int threads = options.threads > 0 ? options.threads : std::max(1, cores / 2);
  if (options.worker.empty()) options.worker = DefaultWorkerName();
  if (options.calibrate_only) options.plan_only = false;
  OpenCacheOptions cache_options{.create = !options.plan_only, .access = options.access};
  if (!options.quota.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(cache_options.quota_bytes, ParseByteSize(options.quota));
  }

  // 1. What is asked for: teacher and set first, since what is wrong with them shows at once; then the images.
  AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<const FeatureProfile> profile, FindProfile(options));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<TeacherRunner> teacher, TeacherRunner::Load(options.teacher));
  AFTERIMAGE_ASSIGN_OR_RETURN(SetDescription description, DescribeSet(options, *teacher, profile.get()));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<ImageIndex> images, IndexImages(options, cores));
  const Manifest& manifest = images->manifest();
  if (images->source().size() != manifest.num_keys()) {
    std::cerr << absl::StrFormat("%d of the images are exact repeats of others; each is computed once\n",
                                 images->source().size() - manifest.num_keys());
  }

  // 2. What it will cost.
  OpenedCache cache;
  PlanInput plan_input{.description = description,
                       .profile = profile.get(),
                       .num_view_seeds = options.num_view_seeds,
                       .planned_epochs = options.planned_epochs,
                       .num_decode_threads = threads,
                       .cache_folder = "",
                       .records_present = 0};
  if (absl::StatusOr<OpenedCache> opened = OpenCache(options.cache, cache_options); opened.ok()) {
    cache = *std::move(opened);
  } else if (!options.plan_only || !absl::IsNotFound(opened.status())) {
    return opened.status();
  }
  if (!cache.is_remote) plan_input.cache_folder = options.cache;
  std::shared_ptr<FeatureStore> importance_from;
  if (!options.importance_from.empty()) {
    const absl::Status taken = OpenImportanceSource(options, cache, description, importance_from);
    if (!taken.ok()) return WithContext(taken, absl::StrCat("--importance-from ", options.importance_from));
    plan_input.description = description;
  }
  if (options.calibrate_only) return CalibrateOnly(options, *cache.catalog, description, *images, *teacher);
  std::optional<CodecDecision> decision;
  if (NeedsCalibration(options)) {
    AFTERIMAGE_ASSIGN_OR_RETURN(decision, MakeDecision(options, cache.catalog.get(), description));
    AFTERIMAGE_ASSIGN_OR_RETURN(profile, decision->Make(*images, *teacher, description.set));
    plan_input.description = description;
    plan_input.profile = profile.get();
  }
  const Digest256 set_id = description.set.Id();
  if (cache.catalog != nullptr) {
    const OpenMode mode = options.plan_only ? OpenMode::kRead : OpenMode::kContribute;
    absl::StatusOr<OpenedSet> existing = cache.catalog->OpenSet(set_id, mode);
    if (!existing.ok() && !absl::IsNotFound(existing.status())) return existing.status();
    if (existing.ok() && existing->ledger != nullptr) {
      absl::StatusOr<LedgerProgress> progress = existing->ledger->Progress(manifest.digest(), options.num_view_seeds);
      if (progress.ok()) plan_input.records_present = progress->records_present;
    }
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const Plan plan, MakePlan(plan_input, *images, *teacher));
  std::cout << (options.json ? plan.ToJson() + "\n" : plan.ToText()) << std::flush;
  if (options.plan_only) return absl::OkStatus();
  if (StopRequested()) return absl::CancelledError("stopped before anything was computed");

  // 3. The set and its data set, created or found.
  description.layout = ChooseLayout(manifest.num_keys(), plan.record_bytes, std::min(plan.teacher_rate, plan.decode_rate));
  AFTERIMAGE_ASSIGN_OR_RETURN(description, cache.catalog->CreateSet(description));
  if (decision.has_value()) AFTERIMAGE_RETURN_IF_ERROR(decision->Publish(set_id));
  AFTERIMAGE_RETURN_IF_ERROR(cache.catalog->PutManifest(manifest));
  if (images->has_labels()) AFTERIMAGE_RETURN_IF_ERROR(cache.catalog->PutLabels(manifest.digest(), images->labels()));
  if (!options.name.empty()) AFTERIMAGE_RETURN_IF_ERROR(cache.catalog->SetName(options.name, set_id, false));
  if (!options.manifest_name.empty()) {
    AFTERIMAGE_RETURN_IF_ERROR(cache.catalog->SetName(options.manifest_name, manifest.digest(), false));
  }

  // 4. The work.
  AFTERIMAGE_ASSIGN_OR_RETURN(OpenedSet set, cache.catalog->OpenSet(set_id, OpenMode::kContribute));
  Progress progress({.label = "precompute", .unit = "views", .total = plan.num_records,
                     .already_done = plan_input.records_present, .style = StyleOf(options)});
  PipelineOptions pipeline_options{.num_view_seeds = options.num_view_seeds,
                                   .seed_major = options.seed_major,
                                   .worker = options.worker,
                                   .lease_duration = absl::Seconds(options.lease_seconds),
                                   .num_decode_threads = threads,
                                   .num_encode_threads = threads,
                                   .views_per_call = std::max(teacher->micro_batch(), 32u),
                                   .error_sample = options.error_sample,
                                   .importance_from = std::move(importance_from)};
  PrecomputePipeline pipeline(std::move(set), images.get(), teacher.get(), pipeline_options);
  AFTERIMAGE_ASSIGN_OR_RETURN(const PipelineReport report, pipeline.Run(&progress));
  progress.Finish();
  PrintSummary(options, set_id, manifest, report);
  return absl::OkStatus();
}

}  // namespace
}  // namespace afterimage

int main(int argc, char** argv) {
  afterimage::UsePassiveOpenMp(argv);
  afterimage::KeepFreedMemory();
  afterimage::InstallStopSignalHandlers();
  CLI::App app("Fills a cache with the features that a frozen teacher computes: once for all trainings.", "afterimage-precompute");
  afterimage::PrecomputeOptions options;
  afterimage::DeclarePrecomputeFlags(app, options);
  app.failure_message(afterimage::UsageError<CLI::App, CLI::Error>);
  app.set_version_flag("--version", afterimage::Version());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : afterimage::kUsageExitStatus;
  }
  const absl::Status status = afterimage::Run(std::move(options));
  if (status.ok()) return 0;
  std::cerr << "afterimage-precompute: " << status.message() << std::endl;
  return absl::IsCancelled(status) ? afterimage::StoppedExitStatus() : 1;
}
