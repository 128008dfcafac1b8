// afterimage-server: serves a cache folder over gRPC.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cache_server/service/cache_server.h"
#include "cache_server/storage/folder_catalog.h"
#include "core/base/allocator.h"
#include "core/base/files.h"
#include "core/base/stop_signal.h"
#include "core/base/usage_error.h"
#include "core/order/epoch_reader.h"

namespace afterimage {
namespace {

struct Flags {
  std::string cache;
  std::string listen = "127.0.0.1:4747";
  std::string port_file;
  uint32_t max_streams = ServiceLimits().max_streams;
  int reader_threads = EpochReader::Options().num_threads;
  double drain_timeout_s = 10;
  uint64_t quota_bytes = 0;
  bool create = false;
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "afterimage-server: %s\n", std::string(status.message()).c_str());
  return EXIT_FAILURE;
}

// Opens every set, so that this process takes in what workers publish and a damaged set is told at the start;
// the others are served.
std::vector<OpenedSet> OpenAll(FeatureCatalog& catalog, const std::vector<SetSummary>& sets) {
  std::vector<OpenedSet> opened;
  for (const SetSummary& set : sets) {
    absl::StatusOr<OpenedSet> one = catalog.OpenSet(set.id, OpenMode::kContribute);
    if (one.ok()) {
      opened.push_back(*std::move(one));
    } else {
      std::fprintf(stderr, "afterimage-server: set %s: %s\n", set.id.Hex().c_str(),
                   std::string(one.status().message()).c_str());
    }
  }
  return opened;
}

int Serve(const Flags& flags) {
  FolderCatalogOptions folder;
  folder.create = flags.create;
  folder.quota_bytes = flags.quota_bytes;
  absl::StatusOr<std::unique_ptr<FolderCatalog>> catalog = FolderCatalog::Open(flags.cache, folder);
  if (!catalog.ok()) return Fail(catalog.status());
  absl::StatusOr<std::vector<SetSummary>> sets = (*catalog)->ListSets();
  if (!sets.ok()) return Fail(sets.status());
  const std::vector<OpenedSet> opened = OpenAll(**catalog, *sets);

  EpochReader::Options reader;
  reader.num_threads = flags.reader_threads;
  EpochReader source(catalog->get(), reader);
  CacheServer::Options options;
  options.listen = flags.listen;
  options.limits.max_streams = flags.max_streams;
  absl::StatusOr<std::unique_ptr<CacheServer>> server = CacheServer::Start(catalog->get(), &source, options);
  if (!server.ok()) return Fail(server.status());

  if (!flags.port_file.empty()) {
    // Its appearance tells a script that the server is ready.
    const absl::Status written = WriteFileAtomically(flags.port_file, absl::StrCat((*server)->port(), "\n"));
    if (!written.ok()) return Fail(written);
  }
  std::printf("afterimage-server: serving %s (%zu sets) at %s\n", flags.cache.c_str(), opened.size(),
              (*server)->address().c_str());
  std::fflush(stdout);

  while (!WaitForStop(60'000)) {
  }
  std::printf("afterimage-server: stopping; %u streams under way get %g s (a second signal ends them now)\n",
              (*server)->num_streams(), flags.drain_timeout_s);
  std::fflush(stdout);
  (*server)->Drain(absl::Seconds(flags.drain_timeout_s));
  if (!flags.port_file.empty()) std::filesystem::remove(flags.port_file);
  std::printf("afterimage-server: stopped\n");
  return EXIT_SUCCESS;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Serves a cache folder to trainers, precompute workers and tools.", "afterimage-server");
  app.add_option("--cache", flags.cache, "The cache folder")->required();
  app.add_flag("--create", flags.create, "Make the folder a cache if it is none");
  app.add_option("--listen", flags.listen,
                 "HOST:PORT (port 0: any free one) or unix:/PATH. There is no authentication: leave it on a "
                 "loopback address, "
                 "or on a network where everybody may read and write the cache")
      ->capture_default_str();
  app.add_option("--port-file", flags.port_file,
                 "Written with the port once the server is ready, removed at the end");
  app.add_option("--max-streams", flags.max_streams,
                 "Bulk streams at once, of all clients; one more is told to try again")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000));
  app.add_option("--reader-threads", flags.reader_threads, "Per epoch stream; more for a cold disk")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  app.add_option("--drain-timeout", flags.drain_timeout_s, "Seconds that streams get to finish after SIGTERM")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 86'400.0));
  app.add_option("--quota", flags.quota_bytes,
                 "Bytes that each set may take on the disk, e.g. 500GB; 0: no limit")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  app.failure_message(UsageError<CLI::App, CLI::Error>);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageExitStatus;
  }
  return Serve(flags);
}

}  // namespace
}  // namespace afterimage

int main(int argc, char** argv) {
  afterimage::InstallStopSignalHandlers();
  afterimage::KeepFreedMemory();
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // what matters comes as a status, and is printed once
  return afterimage::Main(argc, argv);
}
