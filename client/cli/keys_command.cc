// afterimage keys: which images a set knows.
#include <iostream>
#include <memory>

#include "client/cli/command.h"
#include "core/base/status_macros.h"

namespace afterimage::cli {
namespace {

struct KeysFlags : SetFlags {
  uint64_t limit = 0;
};

absl::Status RunKeys(const KeysFlags& flags) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedCache cache, OpenCacheOf(flags));
  AFTERIMAGE_ASSIGN_OR_RETURN(const SetSummary summary, ResolveSet(*cache.catalog, flags.set));
  uint64_t printed = 0;
  for (const Digest256& digest : summary.manifests) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> manifest, cache.catalog->GetManifest(digest));
    const absl::StatusOr<LabelTable> labels = cache.catalog->GetLabels(digest);
    if (!labels.ok() && !absl::IsNotFound(labels.status())) return labels.status();
    for (size_t i = 0; i < manifest->num_keys(); ++i) {
      if (flags.limit != 0 && printed == flags.limit) return absl::OkStatus();
      std::cout << manifest->keys()[i].Hex();
      if (labels.ok()) {
        const int32_t label = labels->labels[manifest->FirstOccurrence(i)];
        if (label >= 0) std::cout << "  " << labels->class_names.at(static_cast<size_t>(label));
      }
      std::cout << "\n";
      ++printed;
    }
  }
  return absl::OkStatus();
}

}  // namespace

void AddKeysCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<KeysFlags>();
  CLI::App* command = app.add_subcommand("keys", "the image keys of a set's data sets, with their labels where there are any");
  AddSetFlags(*command, *flags);
  command->add_option("--limit", flags->limit, "print the first so many (0 = all)")->capture_default_str();
  command->callback([flags, &run] { run = [flags] { return RunKeys(*flags); }; });
}

}  // namespace afterimage::cli
