// A real server on a free port, over a catalog in memory.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "cache_server/service/cache_server.h"
#include "client/remote/connection.h"
#include "client/remote/remote_catalog.h"
#include "client/remote/remote_epoch_source.h"
#include "core/feature/in_memory_cache.h"
#include "core/order/epoch_reader.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::testing {

class ServedCache {
 public:
  explicit ServedCache(CacheServer::Options options = {},
                       InMemoryFeatureCatalog::Options catalog_options = {})
      : options_(std::move(options)), catalog_(std::move(catalog_options)), source_(&catalog_, {}) {
    StartServer();
  }

  InMemoryFeatureCatalog& catalog() { return catalog_; }
  EpochSource& local_source() { return source_; }
  CacheServer& server() { return *server_; }
  const CacheServer& server() const { return *server_; }
  const std::string& address() const { return server_->address(); }

  void StopServer() { server_.reset(); }
  // At the same port after the first time.
  void StartServer() {
    absl::StatusOr<std::unique_ptr<CacheServer>> server = CacheServer::Start(&catalog_, &source_, options_);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    if (server_->port() != 0) options_.listen = "127.0.0.1:" + std::to_string(server_->port());
  }

  std::shared_ptr<Connection> Connect(Connection::Options options = {}) const {
    absl::StatusOr<std::shared_ptr<Connection>> connection = Connection::Open(address(), options);
    EXPECT_THAT(connection, IsOk());
    return connection.ok() ? *connection : nullptr;
  }

  // A set of `count` pictures, filled for `num_view_seeds` seeds; returns an order over it and the request
  // that reads an epoch.
  EpochRequest Fill(uint64_t count, uint32_t num_view_seeds = 1, const SyntheticOptions& synthetic = {},
                    const FailsFunction& fails = {}) {
    const SetDescription description = MakeSyntheticDescription(synthetic);
    const Manifest manifest = MakeSyntheticManifest(count);
    EXPECT_THAT(catalog_.CreateSet(description), IsOk());
    EXPECT_THAT(catalog_.PutManifest(manifest), IsOk());
    const absl::StatusOr<OpenedSet> set = catalog_.OpenSet(description.set.Id(), OpenMode::kContribute);
    EXPECT_THAT(set, IsOk());
    EXPECT_THAT(FillSet(*set, manifest.digest(), num_view_seeds, fails), IsOk());
    EpochRequest request;
    request.set_id = description.set.Id();
    request.order.manifest = manifest.digest();
    request.order.num_occurrences = manifest.num_occurrences();
    request.order.order_seed = 7;
    request.order.num_view_seeds = num_view_seeds;
    request.order.mask.num_visible = 5;
    request.global_batch = 8;
    return request;
  }

 private:
  CacheServer::Options options_;
  InMemoryFeatureCatalog catalog_;
  EpochReader source_;
  std::unique_ptr<CacheServer> server_;
};

}  // namespace afterimage::testing
