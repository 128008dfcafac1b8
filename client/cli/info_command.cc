// afterimage info: what a cache holds.
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/profile_info.h"
#include "core/base/json_text.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"

namespace afterimage::cli {
namespace {

struct InfoFlags : SetFlags {
  bool failures = false;
  std::string profile;
  bool json = false;
  size_t limit = 100;
};

std::string TokensText(const SetSpec& set) {
  if (set.token_policy == TokenPolicy::kAll) return "all";
  return absl::StrFormat("visible: %d patches of %d mask(s), %s, mask seed %d", set.mask.num_visible, set.mask.num_masks,
                         set.mask.type == MaskSpec::Type::kAttention ? "attention" : "random", set.mask.mask_seed);
}

std::string ViewText(const ViewSpec& view) {
  if (view.crop == ViewSpec::Crop::kResizeCenterCrop) {
    return absl::StrFormat("%d px, shorter side to %d, centre crop", view.size, view.resize_shorter);
  }
  return absl::StrFormat("%d px, random resized crop, area %d/%d to %d/%d, flip %d/%d", view.size, view.min_area.numerator,
                         view.min_area.denominator, view.max_area.numerator, view.max_area.denominator,
                         view.flip_probability.numerator, view.flip_probability.denominator);
}

// Of a set without a profile there is none, and no error.
absl::StatusOr<std::shared_ptr<const FeatureProfile>> ProfileOf(FeatureCatalog& catalog,
                                                                const SetSummary& summary) {
  const Digest256& digest = summary.description.set.profile_digest;
  if (digest.IsZero()) return std::shared_ptr<const FeatureProfile>();
  return catalog.GetProfile(digest);
}

absl::Status PrintText(FeatureCatalog& catalog, const SetSummary& summary) {
  const SetSpec& set = summary.description.set;
  const TeacherGeometry& geometry = summary.description.feature.geometry;
  std::cout << absl::StrFormat("set        %s%s\n", summary.id.Hex(),
                               summary.aliases.empty() ? "" : " (" + absl::StrJoin(summary.aliases, ", ") + ")");
  std::cout << absl::StrFormat("  feature  %s\n", set.feature_id.Hex());
  std::cout << absl::StrFormat("  teacher  %s, %d levels x %d channels, grid %d x %d\n",
                               summary.description.feature.teacher.value("family", "unknown"), geometry.num_levels,
                               geometry.width, geometry.grid, geometry.grid);
  std::cout << "  view     " << ViewText(summary.description.feature.view) << "\n";
  std::cout << "  levels   " << absl::StrJoin(set.levels, ", ") << "\n";
  std::cout << "  tokens   " << TokensText(set) << "\n";
  if (!set.importance_from.IsZero()) std::cout << "  masks    from the importance of feature " << set.importance_from.Hex() << "\n";
  std::cout << absl::StrFormat("  codec    %s%s, pixels %s\n", CodecName(set.codec),
                               !set.profile_digest.IsZero() ? ", profile " + set.profile_digest.Hex() : "",
                               PixelsName(set));
  // A profile that cannot be read is told, and does not keep the rest from being shown.
  if (const auto profile = ProfileOf(catalog, summary); !profile.ok()) {
    std::cout << "  profile  cannot be read: " << profile.status().message() << "\n";
  } else if (*profile != nullptr) {
    std::cout << ExpectedText((*profile)->figures(), set.codec);
  }
  for (const Digest256& digest : summary.manifests) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> manifest, catalog.GetManifest(digest));
    std::cout << absl::StrFormat("  data     %s: %d images%s\n", digest.Hex(), manifest->num_keys(),
                                 manifest->num_occurrences() == manifest->num_keys()
                                     ? ""
                                     : absl::StrFormat(" in %d occurrences", manifest->num_occurrences()));
  }
  std::cout << absl::StrFormat("  records  %d of %d view seed(s), %d failed, %s", summary.num_records, summary.num_view_seeds,
                               summary.num_failed, HumanBytes(summary.stored_bytes));
  if (summary.num_records > 0) {
    std::cout << absl::StrFormat(" (%s a record)", HumanBytes(summary.stored_bytes / summary.num_records));
  }
  std::cout << "\n";
  for (const UnitMetadata& worker : summary.workers) {
    const std::string batch =
        worker.micro_batch > 0 ? absl::StrCat(", micro-batch ", worker.micro_batch) : "";
    std::cout << absl::StrFormat("  made by  %s, %s%s: %d records\n", worker.device, worker.library_versions,
                                 batch, worker.num_records);
  }
  std::vector<SampledError> errors;
  for (const UnitMetadata& worker : summary.workers) AddErrors(worker.errors, errors);
  for (const SampledError& error : errors) {
    std::cout << absl::StrFormat("  error    level %d: RMSE %.5f, largest %.4f, measured on %d records\n",
                                 error.level, error.Rmse(), error.largest, error.num_records);
  }
  if (summary.workers.size() > 1) {
    std::cout << "           more than one kind of worker: features agree within the teacher's numerical noise only\n";
  }
  return absl::OkStatus();
}

Json ToJson(FeatureCatalog& catalog, const SetSummary& summary) {
  const auto profile = ProfileOf(catalog, summary);
  const ProfileFigures figures =
      profile.ok() && *profile != nullptr ? (*profile)->figures() : ProfileFigures();
  Json manifests = Json::array(), workers = Json::array();
  for (const Digest256& digest : summary.manifests) manifests.push_back(digest.Hex());
  for (const UnitMetadata& worker : summary.workers) workers.push_back(Json::parse(worker.Serialize()));
  return Json{{"set", summary.id.Hex()},
              {"aliases", summary.aliases},
              {"feature_id", summary.description.set.feature_id.Hex()},
              {"feature", summary.description.feature.ToCanonical()},
              {"spec", summary.description.set.ToCanonical()},
              {"manifests", manifests},
              {"view_seeds", summary.num_view_seeds},
              {"records", summary.num_records},
              {"failed", summary.num_failed},
              {"bytes", summary.stored_bytes},
              {"expected", ExpectedJson(figures, summary.description.set.codec)},
              {"expected_from_records", figures.num_records},
              {"workers", workers}};
}

absl::Status PrintFailures(FeatureCatalog& catalog, const SetSummary& summary, const InfoFlags& flags) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<FailureEntry> failures, catalog.ListFailures(summary.id, flags.limit));
  for (const FailureEntry& failure : failures) {
    if (flags.json) {
      std::cout << JsonText({{"image", failure.key.image.Hex()},
                             {"view_seed", failure.key.view_seed},
                             {"reason", failure.reason}})
                << "\n";
    } else {
      std::cout << failure.key.ToString() << "  " << failure.reason << "\n";
    }
  }
  if (failures.empty() && !flags.json) std::cout << "no failures\n";
  if (failures.size() == flags.limit && !flags.json) std::cout << "(the first " << flags.limit << "; more with --limit)\n";
  return absl::OkStatus();
}

absl::Status RunInfo(const InfoFlags& flags) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedCache cache, OpenCacheOf(flags));
  if (!flags.profile.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto profile, ResolveProfile(*cache.catalog, flags.profile));
    std::cout << (flags.json ? JsonText(ProfileJson(*profile), 2) + "\n" : ProfileText(*profile));
    return absl::OkStatus();
  }
  std::vector<SetSummary> sets;
  if (flags.set.empty() && !flags.failures) {
    AFTERIMAGE_ASSIGN_OR_RETURN(sets, cache.catalog->ListSets());
  } else {
    AFTERIMAGE_ASSIGN_OR_RETURN(const SetSummary set, ResolveSet(*cache.catalog, flags.set));
    sets.push_back(set);
  }
  if (flags.failures) return PrintFailures(*cache.catalog, sets.front(), flags);
  if (flags.json) {
    Json all = Json::array();
    for (const SetSummary& set : sets) all.push_back(ToJson(*cache.catalog, set));
    std::cout << JsonText(all, 2) << "\n";
    return absl::OkStatus();
  }
  std::cout << "cache      " << cache.address << ": " << sets.size() << (sets.size() == 1 ? " set\n" : " sets\n");
  for (const SetSummary& set : sets) AFTERIMAGE_RETURN_IF_ERROR(PrintText(*cache.catalog, set));
  return absl::OkStatus();
}

}  // namespace

void AddInfoCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<InfoFlags>();
  CLI::App* command = app.add_subcommand("info", "what a cache holds: sets, data sets, counts, bytes, failures");
  AddSetFlags(*command, *flags);
  command->add_flag("--failures", flags->failures, "list the pictures that could not be decoded");
  command
      ->add_option("--profile", flags->profile,
                   "name or digest of a profile: what it chose, and what calibration measured")
      ->excludes("--set", "--failures");
  command->add_option("--limit", flags->limit, "failures to list")->capture_default_str();
  command->add_flag("--json", flags->json, "JSON for machines");
  command->callback([flags, &run] { run = [flags] { return RunInfo(*flags); }; });
}

}  // namespace afterimage::cli
