// The suites of every implementation, the whole way: OpenCache, a server, and a folder below it.
#include <memory>

#include "cache_server/service/cache_server.h"
#include "cache_server/storage/folder_catalog.h"
#include "client/open_cache.h"
#include "core/order/epoch_reader.h"
#include "tests/cache_server/storage/cache_fixture.h"
#include "tests/conformance/feature_catalog_conformance.h"
#include "tests/conformance/feature_store_conformance.h"
#include "tests/conformance/unit_ledger_conformance.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::testing {
namespace {

class ServedFolder : public CacheUnderTest {
 public:
  ServedFolder() { EXPECT_TRUE(Reopen()); }

  FeatureCatalog& catalog() override { return *client_.catalog; }

  bool Reopen() override {
    client_ = OpenedCache();
    server_.reset();
    source_.reset();
    folder_catalog_.reset();
    absl::StatusOr<std::unique_ptr<FolderCatalog>> folder =
        FolderCatalog::Open(folder_ / "cache", {.create = true, .clock = [this] { return now_; }});
    EXPECT_THAT(folder, IsOk());
    folder_catalog_ = *std::move(folder);
    source_ = std::make_unique<EpochReader>(folder_catalog_.get(), EpochReader::Options());
    CacheServer::Options options;
    options.listen = "unix:" + (folder_ / "socket").string();
    absl::StatusOr<std::unique_ptr<CacheServer>> server =
        CacheServer::Start(folder_catalog_.get(), source_.get(), options);
    EXPECT_THAT(server, IsOk());
    server_ = *std::move(server);
    absl::StatusOr<OpenedCache> client = OpenCache(server_->address());
    EXPECT_THAT(client, IsOk());
    client_ = *std::move(client);
    return true;
  }
  bool AdvanceClock(absl::Duration duration) override {
    now_ += duration;
    return true;
  }
  bool Damage(const Digest256& set_id, const RecordKey& key) override {
    absl::StatusOr<std::vector<SetSummary>> sets = client_.catalog->ListSets();
    if (!sets.ok()) return false;
    for (const SetSummary& set : *sets) {
      if (set.id == set_id) return FlipBitOf(SetFolder(folder_ / "cache", set_id), set.description, key);
    }
    return false;
  }
  bool LimitBytes(uint64_t bytes) override {
    folder_catalog_->SetQuota(bytes);
    return true;
  }

 private:
  TemporaryFolder folder_;
  absl::Time now_ = absl::Now();
  std::unique_ptr<FolderCatalog> folder_catalog_;
  std::unique_ptr<EpochReader> source_;
  std::unique_ptr<CacheServer> server_;
  OpenedCache client_;
};

const CacheFactory kMakeServedFolder = [] { return std::make_unique<ServedFolder>(); };

INSTANTIATE_TEST_SUITE_P(ServedFolder, FeatureCatalogConformance, ::testing::Values(kMakeServedFolder));
INSTANTIATE_TEST_SUITE_P(ServedFolder, FeatureStoreConformance, ::testing::Values(kMakeServedFolder));
INSTANTIATE_TEST_SUITE_P(ServedFolder, UnitLedgerConformance, ::testing::Values(kMakeServedFolder));

}  // namespace
}  // namespace afterimage::testing
