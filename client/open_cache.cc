#include "client/open_cache.h"

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cache_server/storage/folder_catalog.h"
#include "client/remote/connection.h"
#include "client/remote/merged_catalog.h"
#include "client/remote/merged_epoch_source.h"
#include "client/remote/remote_catalog.h"
#include "client/remote/remote_epoch_source.h"
#include "client/remote/remote_usage.h"
#include "core/base/status_macros.h"
#include "core/order/epoch_reader.h"

namespace afterimage {
namespace {

// What somebody says and nothing heeds is a mistake: that of the environment may be for other addresses.
absl::Status CheckAccess(const std::string& address, const ServerAccess& access) {
  if (access.HasTls() && !absl::StartsWith(address, "grpcs://")) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tls-ca, --tls-cert, --tls-key and --tls-server-name are for a server with TLS, whose "
                     "address begins with grpcs://; this one is ",
                     address));
  }
  const bool is_server = absl::StrContains(address, "://") || absl::StartsWith(address, "unix:");
  if (access.HasAny() && !is_server) {
    return absl::InvalidArgumentError(
        absl::StrCat("--token-file is for a server, and ", address, " is a folder: leave it out"));
  }
  return absl::OkStatus();
}

absl::StatusOr<OpenedCache> OpenServer(const std::string& address, const OpenCacheOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection,
                              Connection::Open(address, {.access = options.access.OrEnvironment()}));
  OpenedCache opened{address, /*is_remote=*/true, /*servers=*/{address}};
  opened.catalog = std::make_unique<RemoteCatalog>(connection);
  opened.epoch_source = std::make_unique<RemoteEpochSource>(connection);
  opened.server_usage = [connection] { return RemoteUsage(*connection); };
  return opened;
}

// "grpc://a:1,b:2" as "grpc://a:1" and "grpc://b:2".
std::vector<std::string> AddressesOf(absl::string_view several) {
  const size_t begin = several.find("://") + 3;
  const absl::string_view scheme = several.substr(0, begin);
  std::vector<std::string> addresses;
  for (const absl::string_view one : absl::StrSplit(several.substr(begin), ',')) {
    addresses.push_back(absl::StartsWith(one, scheme) ? std::string(one) : absl::StrCat(scheme, one));
  }
  return addresses;
}

// Of those that answer.
absl::StatusOr<ServerUsage> UsageOfAll(ServerGroup& servers) {
  ServerUsage sum;
  for (size_t i = 0; i < servers.size(); ++i) {
    const absl::StatusOr<ServerGroup::Server> server = servers.Get(i);
    if (absl::IsUnavailable(server.status())) continue;
    if (!server.ok()) return server.status();
    const absl::StatusOr<ServerUsage> one = server->usage();
    if (absl::IsUnavailable(one.status())) continue;
    if (!one.ok()) return one.status();
    sum.process.cpu_seconds += one->process.cpu_seconds;
    sum.process.resident_bytes += one->process.resident_bytes;
    sum.process.peak_resident_bytes += one->process.peak_resident_bytes;
    sum.process.num_threads += one->process.num_threads;
    sum.process.num_descriptors += one->process.num_descriptors;
    sum.credit_wait_seconds += one->credit_wait_seconds;
    sum.store_wait_seconds += one->store_wait_seconds;
    sum.socket_wait_seconds += one->socket_wait_seconds;
    sum.queue_wait_seconds += one->queue_wait_seconds;
    sum.sent_bytes += one->sent_bytes;
    sum.shared_bytes += one->shared_bytes;
  }
  return sum;
}

absl::StatusOr<OpenedCache> OpenSeveral(const std::string& address, const OpenCacheOptions& options) {
  // Whatever one server cannot do soon another one may.
  const Connection::Options connect = {.call_timeout = absl::Seconds(20),
                                       .retry_for = absl::Milliseconds(500),
                                       .access = options.access.OrEnvironment()};
  std::vector<ServerGroup::Entry> entries;
  for (const std::string& one : AddressesOf(address)) {
    entries.push_back({one, [one, connect]() -> absl::StatusOr<ServerGroup::Server> {
                         AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection,
                                                     Connection::Open(one, connect));
                         return ServerGroup::Server{std::make_shared<RemoteCatalog>(connection),
                                                    std::make_shared<RemoteEpochSource>(connection),
                                                    [connection] { return RemoteUsage(*connection); }};
                       }});
  }
  const auto servers = std::make_shared<ServerGroup>(std::move(entries));
  absl::Status failure;
  bool answered = false;
  for (size_t i = 0; i < servers->size(); ++i) {
    const absl::Status status = servers->Get(i).status();
    if (!status.ok() && !absl::IsUnavailable(status)) return status;
    answered = answered || status.ok();
    if (failure.ok()) failure = status;
  }
  if (!answered) return failure;
  OpenedCache opened{address, /*is_remote=*/true, AddressesOf(address)};
  opened.catalog = std::make_unique<MergedCatalog>(servers);
  MergedEpochSource::Options merged;
  merged.hedge_after = options.hedge_after.value_or(merged.hedge_after);
  merged.message = options.message ? options.message : [](const std::string& text) {
    std::fprintf(stderr, "%s\n", text.c_str());
  };
  auto source = std::make_unique<MergedEpochSource>(servers, std::move(merged));
  opened.hedges = [source = source.get()] { return source->hedges(); };
  opened.epoch_source = std::move(source);
  opened.server_usage = [servers] { return UsageOfAll(*servers); };
  return opened;
}

absl::StatusOr<OpenedCache> OpenFolder(const std::string& path, const OpenCacheOptions& options) {
  FolderCatalogOptions folder;
  folder.create = options.create;
  folder.quota_bytes = options.quota_bytes;
  OpenedCache opened{path, /*is_remote=*/false};
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<FolderCatalog> catalog,
                              FolderCatalog::Open(path, std::move(folder)));
  opened.mark_damaged = [catalog = catalog.get()](const Digest256& set_id,
                                                  const std::vector<RecordKey>& keys) {
    return catalog->MarkDamaged(set_id, keys);
  };
  opened.catalog = std::move(catalog);
  EpochReader::Options reader;
  reader.num_threads = options.reader_threads;
  opened.epoch_source = std::make_unique<EpochReader>(opened.catalog.get(), reader);
  return opened;
}

}  // namespace

absl::StatusOr<OpenedCache> OpenCache(const std::string& address, const OpenCacheOptions& options) {
  if (address.empty()) {
    return absl::InvalidArgumentError(
        "cache address is empty; expected a folder, unix:/PATH, grpc://HOST:PORT or grpcs://HOST:PORT");
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckAccess(address, options.access));
  const bool is_network = absl::StartsWith(address, "grpc://") || absl::StartsWith(address, "grpcs://");
  if (is_network && absl::StrContains(address, ",")) return OpenSeveral(address, options);
  if (is_network || absl::StartsWith(address, "unix:")) return OpenServer(address, options);
  if (absl::StrContains(address, "://")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cache address ", address,
        ": unknown scheme; expected a folder, unix:/PATH, grpc://HOST:PORT or grpcs://HOST:PORT"));
  }
  return OpenFolder(address, options);
}

}  // namespace afterimage
