#include "client/cli/command.h"

#include <algorithm>
#include <utility>

#include "core/base/status_macros.h"

namespace afterimage::cli {

void AddCacheFlag(CLI::App& command, SetFlags& flags) {
  command.add_option("--cache", flags.cache, "folder, unix:PATH, grpc://HOST:PORT[,HOST:PORT …] or grpcs://…")->required();
}

void AddSetFlags(CLI::App& command, SetFlags& flags) {
  AddCacheFlag(command, flags);
  command.add_option("--set", flags.set, "name or id of the set (may be left out when there is one)");
}

absl::StatusOr<SelectedSet> OpenSelectedSet(const SetFlags& flags) {
  SelectedSet selected;
  AFTERIMAGE_ASSIGN_OR_RETURN(selected.cache, OpenCache(flags.cache));
  AFTERIMAGE_ASSIGN_OR_RETURN(selected.summary, ResolveSet(*selected.cache.catalog, flags.set));
  AFTERIMAGE_ASSIGN_OR_RETURN(selected.set, selected.cache.catalog->OpenSet(selected.summary.id, OpenMode::kRead));
  return selected;
}

absl::StatusOr<std::vector<ImageKey>> KeysOfSet(FeatureCatalog& catalog, const SetSummary& set) {
  std::vector<ImageKey> keys;
  for (const Digest256& digest : set.manifests) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> manifest, catalog.GetManifest(digest));
    keys.insert(keys.end(), manifest->keys().begin(), manifest->keys().end());
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace afterimage::cli
