#include "core/feature/in_memory_cache.h"

#include <memory>

#include "tests/conformance/feature_catalog_conformance.h"
#include "tests/conformance/feature_store_conformance.h"
#include "tests/conformance/unit_ledger_conformance.h"

namespace afterimage::testing {
namespace {

class InMemoryCacheUnderTest : public CacheUnderTest {
 public:
  InMemoryCacheUnderTest()
      : now_(std::make_shared<absl::Time>(absl::UnixEpoch())),
        limit_(std::make_shared<uint64_t>(0)),
        catalog_({.clock = [now = now_] { return *now; },
                  .max_bytes_per_set = [limit = limit_] { return *limit; }}) {}

  FeatureCatalog& catalog() override { return catalog_; }
  bool AdvanceClock(absl::Duration duration) override {
    *now_ += duration;
    return true;
  }
  bool Damage(const Digest256& set_id, const RecordKey& key) override {
    EXPECT_THAT(catalog_.DamageForTest(set_id, key), IsOk());
    return true;
  }
  bool LimitBytes(uint64_t bytes) override {
    *limit_ = bytes;
    return true;
  }

 private:
  const std::shared_ptr<absl::Time> now_;
  const std::shared_ptr<uint64_t> limit_;
  InMemoryFeatureCatalog catalog_;
};

std::unique_ptr<CacheUnderTest> MakeInMemoryCache() { return std::make_unique<InMemoryCacheUnderTest>(); }

INSTANTIATE_TEST_SUITE_P(InMemory, FeatureCatalogConformance, ::testing::Values(MakeInMemoryCache));
INSTANTIATE_TEST_SUITE_P(InMemory, FeatureStoreConformance, ::testing::Values(MakeInMemoryCache));
INSTANTIATE_TEST_SUITE_P(InMemory, UnitLedgerConformance, ::testing::Values(MakeInMemoryCache));

}  // namespace
}  // namespace afterimage::testing
