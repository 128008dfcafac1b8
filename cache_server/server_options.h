// What afterimage-server is told: by flags, the environment and a file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache_server/service/call_log.h"
#include "cache_server/service/server_tls.h"
#include "cache_server/service/service_limits.h"
#include "core/order/epoch_reader.h"

namespace afterimage {

struct ServerOptions {
  std::string cache;
  bool create = false;
  std::string listen = "127.0.0.1:4747";
  std::string port_file;
  uint32_t max_streams = ServiceLimits().max_streams;
  uint32_t max_streams_per_peer = ServiceLimits().max_streams_per_peer;
  uint32_t max_calls_per_peer = ServiceLimits().max_calls_per_peer;
  bool shared_memory = true;
  int reader_threads = EpochReader::Options().num_threads;
  double drain_timeout_s = 10;
  uint64_t quota_bytes = 0;
  ServerTlsFiles tls;
  std::string tokens;  // a file
  bool insecure = false;
  std::string http;
  uint64_t min_free_bytes = 1'000'000'000;
  CallLog::Level log = CallLog::Level::kErrors;
  bool log_json = false;
  bool print_config = false;

  // Where the value of each flag that is not the default comes from, e.g. "max-streams" -> "flag".
  std::map<std::string, std::string> sources;

  // Lines NAME = VALUE that --config takes, each with where it comes from. Of tokens and keys the files are
  // named, never what is in them.
  std::string Print() const;
};

// How a command line that is not to be served ends: its text has been printed.
struct ExitNow {
  int status = 0;
};

// Flags win over the environment (AFTERIMAGE_SERVER_MAX_STREAMS for --max-streams), that over the file that
// --config names, that over the defaults. `environment`: NAME=VALUE as `environ` has them. A name that is not
// known, in any of the three, is an error, but for the variables that Kubernetes sets for a service called
// afterimage-server. Returns ExitNow after --help, and after a wrong flag, which has then been told.
// InvalidArgument: the environment or the file is wrong, with the variable, or the file and its line.
absl::StatusOr<ServerOptions> ParseServerOptions(int argc, const char* const* argv,
                                                 const std::vector<std::string>& environment,
                                                 ExitNow* exit_now);

}  // namespace afterimage
