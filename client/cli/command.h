// What every subcommand of `afterimage` shares.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/open_cache.h"
#include "core/feature/feature_catalog.h"

namespace afterimage::cli {

// A subcommand declares its flags on `app` and leaves what is to be run in `run`.
using Runner = std::function<absl::Status()>;

void AddCalibrateCommand(CLI::App& app, Runner& run);
void AddCodecBenchCommand(CLI::App& app, Runner& run);
void AddCompareCommand(CLI::App& app, Runner& run);
void AddInfoCommand(CLI::App& app, Runner& run);
void AddGetCommand(CLI::App& app, Runner& run);
void AddKeysCommand(CLI::App& app, Runner& run);
void AddPictureCommand(CLI::App& app, Runner& run);
void AddRecodeCommand(CLI::App& app, Runner& run);
void AddVerifyCommand(CLI::App& app, Runner& run);
void AddNamesCommand(CLI::App& app, Runner& run);
void AddStreamBenchCommand(CLI::App& app, Runner& run);
void AddWhySlowCommand(CLI::App& app, Runner& run);

// --cache, and the flags of the access to a server.
struct CacheFlags {
  std::string cache;
  ServerAccess access;
};
void AddCacheFlags(CLI::App& command, CacheFlags& flags);
absl::StatusOr<OpenedCache> OpenCacheOf(const CacheFlags& flags);

// Beside them --set: which of its sets.
struct SetFlags : CacheFlags {
  std::string set;
};
void AddSetFlags(CLI::App& command, SetFlags& flags);

// A set, opened for reading.
struct SelectedSet {
  OpenedCache cache;
  SetSummary summary;
  OpenedSet set;
};
absl::StatusOr<SelectedSet> OpenSelectedSet(const CacheFlags& cache, const std::string& set);
absl::StatusOr<SelectedSet> OpenSelectedSet(const SetFlags& flags);

// Keys of the set's data sets, without repeats, ascending.
absl::StatusOr<std::vector<ImageKey>> KeysOfSet(FeatureCatalog& catalog, const SetSummary& set);

}  // namespace afterimage::cli
