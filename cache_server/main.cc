// afterimage-server: serves a cache folder over gRPC.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cache_server/server_options.h"
#include "cache_server/service/cache_server.h"
#include "cache_server/service/token_file.h"
#include "cache_server/storage/folder_catalog.h"
#include "core/base/allocator.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/stop_signal.h"
#include "core/identity/canonical_spec.h"
#include "core/order/epoch_reader.h"

namespace afterimage {
namespace {

// Freed memory that is kept is at most 64 MiB of each: half a gigabyte, on however many cores.
constexpr int kMaxArenas = 8;

// Prints what happened: as text, or with --log-json as an object per line.
class Teller {
 public:
  explicit Teller(bool json) : json_(json) {}

  void Say(const char* event, const std::string& text) const { Print(stdout, event, text); }
  void Warn(const char* event, const std::string& text) const { Print(stderr, event, text); }
  int Fail(const absl::Status& status) const {
    Warn("failed", std::string(status.message()));
    return EXIT_FAILURE;
  }

 private:
  void Print(std::FILE* stream, const char* event, const std::string& text) const {
    if (json_) {
      const Json line = {{"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone())},
                         {"event", event},
                         {"text", text}};
      std::fprintf(stream, "%s\n", JsonText(line).c_str());
    } else {
      std::fprintf(stream, "afterimage-server: %s\n", text.c_str());
    }
    std::fflush(stream);
  }

  const bool json_;
};

// Opens every set, so that this process takes in what workers publish and a damaged set is told at the start;
// the others are served.
std::vector<OpenedSet> OpenAll(FeatureCatalog& catalog, const std::vector<SetSummary>& sets,
                               const Teller& teller) {
  std::vector<OpenedSet> opened;
  for (const SetSummary& set : sets) {
    absl::StatusOr<OpenedSet> one = catalog.OpenSet(set.id, OpenMode::kContribute);
    if (one.ok()) {
      opened.push_back(*std::move(one));
    } else {
      teller.Warn("damaged_set", absl::StrCat("set ", set.id.Hex(), ": ", one.status().message()));
    }
  }
  return opened;
}

// What an operator may not have meant.
void WarnOfOpenDoors(const ServerOptions& options, const TokenFile* tokens, const Teller& teller) {
  if (tokens == nullptr) return;
  if (tokens->is_world_readable())
    teller.Warn("tokens_readable",
                absl::StrCat("everybody on this machine may read the tokens: chmod 600 ", options.tokens));
  if (options.tls.certificate.empty() && !absl::StartsWith(options.listen, "unix:"))
    teller.Warn("tokens_in_clear", "tokens travel in clear text without --tls-cert and --tls-key");
}

// Until SIGTERM; tells once when a changed token file cannot be used.
void WaitForTheEnd(TokenFile* tokens, const Teller& teller) {
  absl::Status told;
  while (!WaitForStop(5'000)) {
    const absl::Status now = tokens != nullptr ? tokens->reload_status() : absl::OkStatus();
    if (now == told) continue;
    teller.Warn("tokens",
                now.ok() ? "the token file is in force again"
                         : absl::StrCat(now.message(), "; the tokens that were read before stay in force"));
    told = now;
  }
}

int Serve(const ServerOptions& flags, const Teller& teller) {
  FolderCatalogOptions folder;
  folder.create = flags.create;
  folder.quota_bytes = flags.quota_bytes;
  absl::StatusOr<std::unique_ptr<FolderCatalog>> catalog = FolderCatalog::Open(flags.cache, folder);
  if (!catalog.ok()) return teller.Fail(catalog.status());
  absl::StatusOr<std::vector<SetSummary>> sets = (*catalog)->ListSets();
  if (!sets.ok()) return teller.Fail(sets.status());
  std::vector<OpenedSet> opened_sets = OpenAll(**catalog, *sets, teller);

  EpochReader::Options reader;
  reader.num_threads = flags.reader_threads;
  EpochReader source(catalog->get(), reader);
  std::unique_ptr<TokenFile> tokens;
  if (!flags.tokens.empty()) {
    absl::StatusOr<std::unique_ptr<TokenFile>> opened = TokenFile::Open(flags.tokens);
    if (!opened.ok()) return teller.Fail(opened.status());
    tokens = *std::move(opened);
  }
  CacheServer::Options options;
  options.listen = flags.listen;
  options.tls = flags.tls;
  options.tokens = tokens.get();
  options.insecure = flags.insecure;
  options.log.level = flags.log;
  options.log.json = flags.log_json;
  options.http = flags.http;
  options.disk.min_free_bytes = flags.min_free_bytes;
  options.disk.free_bytes = [cache = flags.cache]() -> absl::StatusOr<uint64_t> {
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(cache, error);
    if (error) return ErrnoStatus(error.value(), "look at the disk of", cache);
    return space.available;
  };
  options.limits.max_streams = flags.max_streams;
  options.limits.max_streams_per_peer = flags.max_streams_per_peer;
  options.limits.max_calls_per_peer = flags.max_calls_per_peer;
  if (!flags.shared_memory) options.limits.max_shared_bytes = 0;
  absl::StatusOr<std::unique_ptr<CacheServer>> server = CacheServer::Start(catalog->get(), &source, options);
  if (!server.ok()) return teller.Fail(server.status());
  const size_t num_sets = opened_sets.size();
  opened_sets.clear();  // the server has them, and closes those that go

  if (!flags.port_file.empty()) {
    // Its appearance tells a script that the server is ready.
    const absl::Status written = WriteFileAtomically(flags.port_file, absl::StrCat((*server)->port(), "\n"));
    if (!written.ok()) return teller.Fail(written);
  }
  teller.Say("serving",
             absl::StrCat("serving ", flags.cache, " (", num_sets, " sets) at ", (*server)->address()));
  if (!flags.http.empty())
    teller.Say("http", absl::StrCat("/metrics, /healthz and /readyz at ", (*server)->http_address()));
  WarnOfOpenDoors(flags, tokens.get(), teller);

  WaitForTheEnd(tokens.get(), teller);
  teller.Say("stopping", absl::StrCat("stopping; ", (*server)->num_streams(), " streams under way get ",
                                      flags.drain_timeout_s, " s (a second signal ends them now)"));
  (*server)->Drain(absl::Seconds(flags.drain_timeout_s));
  if (!flags.port_file.empty()) std::filesystem::remove(flags.port_file);
  teller.Say("stopped", "stopped");
  return EXIT_SUCCESS;
}

int Main(int argc, char** argv) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  ExitNow exit_now;
  const absl::StatusOr<ServerOptions> options = ParseServerOptions(argc, argv, environment, &exit_now);
  if (absl::IsCancelled(options.status())) return exit_now.status;
  if (!options.ok()) return Teller(false).Fail(options.status());
  if (options->print_config) {
    std::printf("%s", options->Print().c_str());
    return EXIT_SUCCESS;
  }
  return Serve(*options, Teller(options->log_json));
}

}  // namespace
}  // namespace afterimage

int main(int argc, char** argv) {
  afterimage::InstallStopSignalHandlers();
  afterimage::KeepFreedMemory(afterimage::kMaxArenas);
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // what matters comes as a status, and is printed once
  return afterimage::Main(argc, argv);
}
