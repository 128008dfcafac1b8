#include <memory>

#include "cache_server/storage/folder_catalog.h"
#include "tests/cache_server/storage/cache_fixture.h"
#include "tests/conformance/feature_catalog_conformance.h"
#include "tests/conformance/feature_store_conformance.h"
#include "tests/conformance/unit_ledger_conformance.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::testing {
namespace {

class FolderCache : public CacheUnderTest {
 public:
  FolderCache() { EXPECT_TRUE(Reopen()); }

  FeatureCatalog& catalog() override { return *catalog_; }

  bool Reopen() override {
    catalog_.reset();
    absl::StatusOr<std::unique_ptr<FolderCatalog>> opened =
        FolderCatalog::Open(folder_ / "cache", {.create = true, .clock = [this] { return now_; }});
    EXPECT_THAT(opened, IsOk());
    if (opened.ok()) catalog_ = *std::move(opened);
    return opened.ok();
  }
  bool AdvanceClock(absl::Duration duration) override {
    now_ += duration;
    return true;
  }
  bool Damage(const Digest256& set_id, const RecordKey& key) override {
    absl::StatusOr<std::vector<SetSummary>> sets = catalog_->ListSets();
    if (!sets.ok()) return false;
    for (const SetSummary& set : *sets) {
      if (set.id == set_id) return FlipBitOf(SetFolder(folder_ / "cache", set_id), set.description, key);
    }
    return false;
  }
  bool LimitBytes(uint64_t bytes) override {
    catalog_->SetQuota(bytes);
    return true;
  }

 private:
  TemporaryFolder folder_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  std::unique_ptr<FolderCatalog> catalog_;
};

const CacheFactory kMakeFolderCache = [] { return std::make_unique<FolderCache>(); };

INSTANTIATE_TEST_SUITE_P(FolderCatalog, FeatureCatalogConformance, ::testing::Values(kMakeFolderCache));
INSTANTIATE_TEST_SUITE_P(FolderCatalog, FeatureStoreConformance, ::testing::Values(kMakeFolderCache));
INSTANTIATE_TEST_SUITE_P(FolderCatalog, UnitLedgerConformance, ::testing::Values(kMakeFolderCache));

}  // namespace
}  // namespace afterimage::testing
