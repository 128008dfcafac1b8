#include "client/cli/command.h"

#include <algorithm>
#include <utility>

#include "client/flags/access_flags.h"
#include "core/base/status_macros.h"

namespace afterimage::cli {

void AddCacheFlags(CLI::App& command, CacheFlags& flags) {
  command.add_option("--cache", flags.cache, "folder, unix:PATH, grpc://HOST:PORT[,HOST:PORT …] or grpcs://…")->required();
  AddAccessFlags(command, flags.access);
}

absl::StatusOr<OpenedCache> OpenCacheOf(const CacheFlags& flags) {
  return OpenCache(flags.cache, {.access = flags.access});
}

void AddSetFlags(CLI::App& command, SetFlags& flags) {
  AddCacheFlags(command, flags);
  command.add_option("--set", flags.set, "name or id of the set (may be left out when there is one)");
}

absl::StatusOr<SelectedSet> OpenSelectedSet(const SetFlags& flags) {
  return OpenSelectedSet(flags, flags.set);
}

absl::StatusOr<SelectedSet> OpenSelectedSet(const CacheFlags& cache, const std::string& set) {
  SelectedSet selected;
  AFTERIMAGE_ASSIGN_OR_RETURN(selected.cache, OpenCacheOf(cache));
  AFTERIMAGE_ASSIGN_OR_RETURN(selected.summary, ResolveSet(*selected.cache.catalog, set));
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
