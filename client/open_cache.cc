#include "client/open_cache.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cache_server/storage/folder_catalog.h"
#include "client/remote/connection.h"
#include "client/remote/remote_catalog.h"
#include "client/remote/remote_epoch_source.h"
#include "core/base/status_macros.h"
#include "core/order/epoch_reader.h"

namespace afterimage {
namespace {

absl::StatusOr<OpenedCache> OpenServer(const std::string& address) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<Connection> connection, Connection::Open(address, {}));
  OpenedCache opened{address, /*is_remote=*/true};
  opened.catalog = std::make_unique<RemoteCatalog>(connection);
  opened.epoch_source = std::make_unique<RemoteEpochSource>(connection);
  return opened;
}

absl::StatusOr<OpenedCache> OpenFolder(const std::string& path, const OpenCacheOptions& options) {
  FolderCatalogOptions folder;
  folder.create = options.create;
  folder.quota_bytes = options.quota_bytes;
  OpenedCache opened{path, /*is_remote=*/false};
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<FolderCatalog> catalog, FolderCatalog::Open(path, std::move(folder)));
  opened.mark_damaged = [catalog = catalog.get()](const Digest256& set_id, const std::vector<RecordKey>& keys) {
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
        "cache address is empty; expected a folder, unix:/PATH or grpc://HOST:PORT");
  }
  if (absl::StartsWith(address, "grpc://") && absl::StrContains(address, ",")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cache address ", address, ": several servers are not served by this version; name one of them"));
  }
  if (absl::StartsWith(address, "grpc://") || absl::StartsWith(address, "unix:")) return OpenServer(address);
  if (absl::StrContains(address, "://")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cache address ", address, ": unknown scheme; expected a folder, unix:/PATH or grpc://HOST:PORT"));
  }
  return OpenFolder(address, options);
}

}  // namespace afterimage
