#include "cache_server/server_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/base/usage_error.h"
#include "core/base/version.h"

namespace afterimage {
namespace {

constexpr char kEnvironmentPrefix[] = "AFTERIMAGE_SERVER_";

// One value from the environment or the file; `where` names it in messages, `source` in --print-config.
struct Setting {
  std::string name;  // of the flag, without dashes
  std::string value;
  std::string where;
  std::string source;
};

const std::map<std::string, CallLog::Level>& LogLevels() {
  static const auto* const levels =
      new std::map<std::string, CallLog::Level>{{"none", CallLog::Level::kNone},
                                                {"errors", CallLog::Level::kErrors},
                                                {"streams", CallLog::Level::kStreams},
                                                {"all", CallLog::Level::kAll}};
  return *levels;
}

std::string LogLevelName(CallLog::Level wanted) {
  for (const auto& [name, level] : LogLevels()) {
    if (level == wanted) return name;
  }
  return "";
}

// Declares every flag. Values that are set already are kept unless a flag says otherwise.
void DeclareFlags(CLI::App& app, ServerOptions& o) {
  app.add_option("--cache", o.cache, "The cache folder")->required(o.cache.empty());
  app.add_flag("--create,!--no-create", o.create, "Make the folder a cache if it is none");
  app.add_option("--listen", o.listen,
                 "HOST:PORT (port 0: any free one) or unix:/PATH. An address that other machines reach wants "
                 "TLS, --tokens, or "
                 "--insecure")
      ->capture_default_str();
  app.add_option("--port-file", o.port_file,
                 "Written with the port once the server is ready, removed at the end");
  app.add_option("--max-streams", o.max_streams,
                 "Bulk streams at once, of all clients; one more is told to try again")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000));
  app.add_option(
         "--max-streams-per-peer", o.max_streams_per_peer,
         "Of them, those of one client: of a token by its name, without tokens of an address. One more "
         "is told to try again; 0: no limit of its own")
      ->capture_default_str()
      ->check(CLI::Range(0, 10'000));
  app.add_option("--max-calls-per-peer", o.max_calls_per_peer,
                 "Short calls of one client at once; one more is told to try again; 0: no limit")
      ->capture_default_str()
      ->check(CLI::Range(0, 10'000));
  app.add_flag("--shared-memory,!--no-shared-memory", o.shared_memory,
               "Through a unix socket: records go through memory shared with the reader, if it can map it");
  app.add_option("--reader-threads", o.reader_threads,
                 "Per epoch stream, beside the stream's own, which reads where it would wait; more for a cold "
                 "disk")
      ->capture_default_str()
      ->check(CLI::Range(0, 64));
  app.add_option("--drain-timeout", o.drain_timeout_s, "Seconds that streams get to finish after SIGTERM")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 86'400.0));
  app.add_option("--quota", o.quota_bytes,
                 "Bytes that each set may take on the disk, e.g. 500GB; 0: no limit")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  app.add_option(
      "--tls-cert", o.tls.certificate,
      "PEM file with the server's certificate: TLS. Looked at again every few seconds, as the two below");
  app.add_option("--tls-key", o.tls.key, "PEM file with its private key");
  app.add_option(
      "--tls-client-ca", o.tls.client_ca,
      "PEM file with authorities: clients need a certificate that one of them signed (mutual TLS)");
  app.add_option(
      "--tokens", o.tokens,
      "File with a line ROLE TOKEN [NAME] per token, ROLE read, write or admin: clients need one of them");
  app.add_flag(
      "--insecure,!--no-insecure", o.insecure,
      "Listen where other machines reach it without TLS and tokens: everybody may read and write the cache");
  app.add_option(
      "--http", o.http,
      "ADDRESS:PORT for /metrics (Prometheus), /healthz and /readyz, e.g. 127.0.0.1:9090; left out: nowhere");
  app.add_option("--min-free", o.min_free_bytes, "Not ready while the disk has fewer free bytes, e.g. 1GB")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--log", [&o](const std::string& level) { o.log = LogLevels().at(level); },
         "A line on standard error for: errors; streams (bulk calls, too); all calls; none (errors)")
      ->check(CLI::IsMember({"none", "errors", "streams", "all"}));
  app.add_flag("--log-json,!--log-text", o.log_json, "Everything that is printed is a JSON object per line");
}

std::string EnvironmentName(const std::string& flag) {
  return absl::StrCat(kEnvironmentPrefix, absl::AsciiStrToUpper(absl::StrReplaceAll(flag, {{"-", "_"}})));
}

// Names of all flags that the environment and the file may set.
std::vector<std::string> FlagNames() {
  CLI::App app;
  ServerOptions unused;
  DeclareFlags(app, unused);
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_lnames().front();
    if (name != "help") names.push_back(name);
  }
  return names;
}

// Kubernetes gives every container the address of each service in the namespace, e.g. of one called
// afterimage-server.
bool IsFromKubernetes(absl::string_view rest) {
  return rest == "PORT" || absl::StartsWith(rest, "PORT_4747") || absl::StartsWith(rest, "SERVICE_") ||
         absl::StrContains(rest, "_TCP");
}

absl::StatusOr<std::vector<Setting>> FromEnvironment(const std::vector<std::string>& environment) {
  std::vector<Setting> settings;
  const std::vector<std::string> flags = FlagNames();
  for (absl::string_view entry : environment) {
    if (!absl::StartsWith(entry, kEnvironmentPrefix)) continue;
    const std::pair<std::string, std::string> parts = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    const auto flag = std::ranges::find_if(
        flags, [&](const std::string& name) { return EnvironmentName(name) == parts.first; });
    if (flag != flags.end()) {
      settings.push_back({*flag, parts.second, parts.first, "environment"});
    } else if (!IsFromKubernetes(absl::StripPrefix(parts.first, kEnvironmentPrefix))) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the environment has ", parts.first,
          ", which is none of the server's variables; unset it (those there are: ", kEnvironmentPrefix,
          "LISTEN for --listen, and so on)"));
    }
  }
  return settings;
}

absl::StatusOr<std::vector<Setting>> FromFile(const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<Setting> settings;
  const std::vector<std::string> flags = FlagNames();
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    const std::string where = absl::StrCat(path, ", line ", number);
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const size_t equals = line.find('=');
    if (equals == absl::string_view::npos)
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": expected NAME = VALUE, as in: max-streams = 64"));
    const std::string name(absl::StripAsciiWhitespace(line.substr(0, equals)));
    absl::string_view value = absl::StripAsciiWhitespace(line.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    if (std::ranges::find(flags, name) == flags.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": there is no setting ", name,
                       "; they are called as the flags are (afterimage-server --help)"));
    }
    if (std::ranges::any_of(settings, [&](const Setting& other) { return other.name == name; }))
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", name, " is set a second time"));
    settings.push_back({name, std::string(value), where, absl::StrCat("file ", path)});
  }
  return settings;
}

absl::Status Apply(const Setting& setting, ServerOptions& options) {
  CLI::App app;
  DeclareFlags(app, options);
  app.get_option("--cache")->required(false);
  try {
    app.parse(std::vector<std::string>{absl::StrCat("--", setting.name, "=", setting.value)});
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::StrCat(setting.where, ": ", error.what()));
  }
  options.sources[setting.name] = setting.source;
  return absl::OkStatus();
}

// --config of the command line; empty if there is none. Nothing else is judged yet.
std::string ConfigOf(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    absl::string_view word = argv[i];
    if (word == "--config" && i + 1 < argc) return argv[i + 1];
    if (absl::ConsumePrefix(&word, "--config=")) return std::string(word);
  }
  return "";
}

}  // namespace

std::string ServerOptions::Print() const {
  const auto number = [](auto value) { return absl::StrCat(value); };
  const auto yes = [](bool value) { return std::string(value ? "true" : "false"); };
  const std::vector<std::pair<std::string, std::string>> values = {
      {"cache", cache},
      {"create", yes(create)},
      {"listen", listen},
      {"port-file", port_file},
      {"max-streams", number(max_streams)},
      {"max-streams-per-peer", number(max_streams_per_peer)},
      {"max-calls-per-peer", number(max_calls_per_peer)},
      {"shared-memory", yes(shared_memory)},
      {"reader-threads", number(reader_threads)},
      {"drain-timeout", number(drain_timeout_s)},
      {"quota", number(quota_bytes)},
      {"tls-cert", tls.certificate},
      {"tls-key", tls.key},
      {"tls-client-ca", tls.client_ca},
      {"tokens", tokens},
      {"insecure", yes(insecure)},
      {"http", http},
      {"min-free", number(min_free_bytes)},
      {"log", LogLevelName(log)},
      {"log-json", yes(log_json)},
  };
  std::string text;
  for (const auto& [name, value] : values) {
    const auto source = sources.find(name);
    const std::string from = source == sources.end() ? "default" : source->second;
    // A line without a value would set it to nothing, where nothing was said.
    absl::StrAppend(&text, value.empty() ? "# " : "", name, " = ", value, "  # ", from, "\n");
  }
  return text;
}

absl::StatusOr<ServerOptions> ParseServerOptions(int argc, const char* const* argv,
                                                 const std::vector<std::string>& environment,
                                                 ExitNow* exit_now) {
  ServerOptions options;
  std::string config = ConfigOf(argc, argv);
  absl::Status layers;
  const auto apply_all = [&](const absl::StatusOr<std::vector<Setting>>& settings) {
    if (layers.ok()) layers = settings.status();
    if (!layers.ok()) return;
    for (const Setting& setting : *settings) {
      if (layers.ok()) layers = Apply(setting, options);
    }
  };
  if (!config.empty()) apply_all(FromFile(config));
  apply_all(FromEnvironment(environment));

  // The command line comes last, and is judged first: --help is answered whatever the rest says.
  CLI::App app("Serves a cache folder to trainers, precompute workers and tools.", "afterimage-server");
  DeclareFlags(app, options);
  app.add_option("--config", config,
                 "File with lines NAME = VALUE, named as the flags. Flags win over the environment "
                 "(AFTERIMAGE_SERVER_MAX_STREAMS …), that over the file");
  app.add_flag("--print-config", options.print_config,
               "Print what is in force, and where it comes from, and end");
  app.failure_message(UsageError<CLI::App, CLI::Error>);
  app.set_version_flag("--version", Version());
  if (!layers.ok()) app.get_option("--cache")->required(false);  // it may have been what could not be read
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_now->status = app.exit(error) == 0 ? 0 : kUsageExitStatus;
    return absl::CancelledError("the command line has been answered");
  }
  AFTERIMAGE_RETURN_IF_ERROR(layers);
  for (const std::string& name : FlagNames()) {
    if (app.get_option("--" + name)->count() > 0) options.sources[name] = "flag";
  }
  return options;
}

}  // namespace afterimage
