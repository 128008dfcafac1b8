#include "core/feature/feature_catalog.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {
namespace {

constexpr size_t kMinIdDigits = 8;  // of a digest that is given in part
constexpr size_t kMaxNameLength = 64;

std::string Listed(const std::vector<std::string>& lines) {
  return lines.empty() ? "nothing" : absl::StrCat("\n  ", absl::StrJoin(lines, "\n  "));
}

std::string DescribeSet(const SetSummary& set) {
  const SetSpec& spec = set.description.set;
  return absl::StrCat(set.aliases.empty() ? "" : absl::StrCat(absl::StrJoin(set.aliases, ", "), "  "),
                      set.id.Hex(), "  (", CodecName(spec.codec), ", ",
                      spec.token_policy == TokenPolicy::kAll ? "all" : "visible", " tokens, levels ",
                      absl::StrJoin(spec.levels, ","), ", ", set.num_records, " records)");
}

bool IsIdPrefix(absl::string_view text, const Digest256& digest) {
  return text.size() >= kMinIdDigits && absl::StartsWith(digest.Hex(), text);
}

// The one candidate that `text` means, by alias or digits; an error lists all of them.
absl::StatusOr<size_t> Resolve(absl::string_view what, absl::string_view flag, absl::string_view text,
                               const std::vector<Digest256>& candidates,
                               const std::map<std::string, Digest256>& names,
                               const std::vector<std::string>& descriptions) {
  if (candidates.empty()) return absl::NotFoundError(absl::StrCat("there is no ", what, " yet"));
  if (text.empty()) {
    if (candidates.size() == 1) return 0;
    return absl::FailedPreconditionError(
        absl::StrCat("there are ", candidates.size(), " ", what, "s; name one with ", flag, " (an alias, or ",
                     kMinIdDigits, " digits of an id): ", Listed(descriptions)));
  }
  std::vector<size_t> matches;
  const auto name = names.find(std::string(text));
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (name != names.end() ? name->second == candidates[i] : IsIdPrefix(text, candidates[i]))
      matches.push_back(i);
  }
  if (matches.size() == 1) return matches.front();
  if (matches.empty()) {
    return absl::NotFoundError(absl::StrCat("no ", what, " is called \"", text, "\" (", flag,
                                            " takes an alias, or at least ", kMinIdDigits,
                                            " digits of an id); there is: ", Listed(descriptions)));
  }
  return absl::FailedPreconditionError(absl::StrCat(matches.size(), " ", what, "s begin with \"", text,
                                                    "\"; give ", flag,
                                                    " more digits: ", Listed(descriptions)));
}

// The same for things that have nothing but digest and names.
absl::StatusOr<Digest256> ResolveDigest(FeatureCatalog& catalog, absl::string_view what,
                                        absl::string_view flag, absl::string_view text,
                                        const std::vector<Digest256>& candidates) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto names, catalog.ListNames());
  std::vector<std::string> descriptions;
  for (const Digest256& candidate : candidates) {
    std::string& description = descriptions.emplace_back();
    for (const auto& [name, target] : names) {
      if (target == candidate) absl::StrAppend(&description, name, "  ");
    }
    absl::StrAppend(&description, candidate.Hex());
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const size_t index, Resolve(what, flag, text, candidates, names, descriptions));
  return candidates[index];
}

}  // namespace

absl::StatusOr<SetSummary> ResolveSet(FeatureCatalog& catalog, absl::string_view text) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<SetSummary> sets, catalog.ListSets());
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto names, catalog.ListNames());
  std::vector<Digest256> ids;
  std::vector<std::string> descriptions;
  for (const SetSummary& set : sets) {
    ids.push_back(set.id);
    descriptions.push_back(DescribeSet(set));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const size_t index, Resolve("set", "--set", text, ids, names, descriptions));
  return std::move(sets[index]);
}

absl::StatusOr<Digest256> ResolveManifest(FeatureCatalog& catalog, const SetSummary& set,
                                          absl::string_view text) {
  return ResolveDigest(catalog, "manifest", "--manifest", text, set.manifests);
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> ResolveProfile(FeatureCatalog& catalog,
                                                                     absl::string_view text) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> profiles, catalog.ListProfiles());
  AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 digest,
                              ResolveDigest(catalog, "profile", "--profile", text, profiles));
  return catalog.GetProfile(digest);
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> ProfileOfSet(FeatureCatalog& catalog,
                                                                   const SetDescription& description) {
  const SetSpec& set = description.set;
  if (set.profile_digest.IsZero()) return nullptr;
  const auto refuse = [&](const auto&... why) {
    return absl::FailedPreconditionError(
        absl::StrCat("set ", set.Id().Hex(), " has profile ", set.profile_digest.Hex(), ": ", why...));
  };
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> profile = catalog.GetProfile(set.profile_digest);
  if (absl::IsNotFound(profile.status())) return refuse(profile.status().message());
  if (!profile.ok()) return profile.status();
  if ((*profile)->feature_id() != set.feature_id) {
    return refuse("it is of feature id ", (*profile)->feature_id().Hex(), ", the set of ",
                  set.feature_id.Hex());
  }
  for (const uint32_t level : set.levels) {
    if ((*profile)->FindLevel(level) == nullptr ||
        (*profile)->width() != description.feature.geometry.width) {
      return refuse("it has no level ", level, " of width ", description.feature.geometry.width);
    }
  }
  return profile;
}

absl::Status NoSuchProfile(const Digest256& digest, const std::vector<Digest256>& known) {
  std::vector<std::string> lines;
  for (const Digest256& one : known) lines.push_back(one.Hex());
  return absl::NotFoundError(
      absl::StrCat("no profile ", digest.Hex(), " in the cache; there is: ", Listed(lines)));
}

absl::Status ValidateName(absl::string_view name) {
  if (Digest256::FromHex(name).ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", name, "\" is no name: a whole id always stands for what it is the id of"));
  }
  const auto starts = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const auto continues = [&](char c) { return starts(c) || c == '.' || c == '_' || c == '-'; };
  if (!name.empty() && name.size() <= kMaxNameLength && starts(name.front()) &&
      std::all_of(name.begin(), name.end(), continues)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is not a name: 1 to ", kMaxNameLength,
                                                 " of a-z 0-9 . _ -, the first one a letter or a digit"));
}

absl::Status CheckNameIsFree(FeatureCatalog& catalog, const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(ValidateName(name));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto names, catalog.ListNames());
  const auto taken = names.find(name);
  if (taken == names.end()) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat("the name \"", name, "\" stands for ", taken->second.Hex(),
                                               "; choose another, or remove it: afterimage names --remove ",
                                               name));
}

absl::Status ValidateChoiceClaim(const std::string& worker, absl::Duration lease_duration) {
  if (worker.empty()) return absl::InvalidArgumentError("choice: the worker has no name");
  return lease_duration == absl::ZeroDuration() ? absl::OkStatus() : ValidateLeaseDuration(lease_duration);
}

absl::Status ValidateLabels(const Manifest& manifest, const LabelTable& labels) {
  if (labels.labels.size() != manifest.num_occurrences()) {
    return absl::InvalidArgumentError(absl::StrCat(labels.labels.size(), " labels for the ",
                                                   manifest.num_occurrences(), " occurrences of manifest ",
                                                   manifest.digest().Hex()));
  }
  for (size_t i = 0; i < labels.labels.size(); ++i) {
    const int64_t label = labels.labels[i];
    if (label < -1 ||
        (!labels.class_names.empty() && label >= static_cast<int64_t>(labels.class_names.size()))) {
      return absl::InvalidArgumentError(absl::StrCat("label ", label, " of occurrence ", i, " is not one of ",
                                                     labels.class_names.size(), " classes"));
    }
    if (i > 0 && label < labels.labels[i - 1] &&
        manifest.KeyIndexOfOccurrence(i) == manifest.KeyIndexOfOccurrence(i - 1)) {
      return absl::InvalidArgumentError(absl::StrCat("the labels of image ",
                                                     manifest.keys()[manifest.KeyIndexOfOccurrence(i)].Hex(),
                                                     " are not ascending"));
    }
  }
  return absl::OkStatus();
}

}  // namespace afterimage
