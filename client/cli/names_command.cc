// afterimage names: readable names for sets, data sets and profiles.
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "core/base/status_macros.h"

namespace afterimage::cli {
namespace {

struct NamesFlags : CacheFlags {
  std::string name;
  std::string target;
  std::string remove;
  bool replace = false;
};

// The id of a set, manifest or profile, whole or its first digits, or a name that exists.
absl::StatusOr<Digest256> ResolveTarget(FeatureCatalog& catalog, const std::string& text) {
  std::vector<Digest256> found;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<SetSummary> sets, catalog.ListSets());
  AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<Digest256> others, catalog.ListManifests());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> profiles, catalog.ListProfiles());
  others.insert(others.end(), profiles.begin(), profiles.end());
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto names, catalog.ListNames());
  if (const auto named = names.find(text); named != names.end()) return named->second;
  for (const SetSummary& set : sets) {
    if (text.size() >= 8 && set.id.Hex().starts_with(text)) found.push_back(set.id);
  }
  for (const Digest256& other : others) {
    if (text.size() >= 8 && other.Hex().starts_with(text)) found.push_back(other);
  }
  if (found.size() == 1) return found.front();
  return absl::NotFoundError(absl::StrCat("'", text, "' is ", found.empty() ? "no" : "more than one",
                                          " set, data set or profile of this cache; give at least 8 digits "
                                          "of an id that `afterimage info` prints"));
}

absl::Status RunNames(const NamesFlags& flags) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedCache cache, OpenCacheOf(flags));
  if (!flags.remove.empty()) return cache.catalog->RemoveName(flags.remove);
  if (!flags.name.empty()) {
    if (flags.target.empty())
      return absl::InvalidArgumentError(
          "names --name NAME needs --target ID: the set, data set or profile it stands for");
    AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 target, ResolveTarget(*cache.catalog, flags.target));
    return cache.catalog->SetName(flags.name, target, flags.replace);
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto names, cache.catalog->ListNames());
  for (const auto& [name, target] : names) std::cout << name << "  " << target.Hex() << "\n";
  if (names.empty()) std::cout << "no names yet; give one: afterimage names --cache " << flags.cache << " --name NAME --target ID\n";
  return absl::OkStatus();
}

}  // namespace

void AddNamesCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<NamesFlags>();
  CLI::App* command =
      app.add_subcommand("names", "readable names of sets, data sets and profiles: list, give, remove");
  AddCacheFlags(*command, *flags);
  command->add_option("--name", flags->name, "the name to give");
  command->add_option("--target", flags->target, "what it stands for: an id, its first digits, or another name");
  command->add_flag("--replace", flags->replace, "move a name that exists");
  command->add_option("--remove", flags->remove, "the name to remove");
  command->callback([flags, &run] { run = [flags] { return RunNames(*flags); }; });
}

}  // namespace afterimage::cli
