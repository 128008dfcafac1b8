// The suites of every implementation, over a real server on a catalog in memory.
#include <memory>
#include <vector>

#include "client/remote/remote_catalog.h"
#include "tests/cache_server/service/served_cache.h"
#include "tests/conformance/feature_catalog_conformance.h"
#include "tests/conformance/feature_store_conformance.h"
#include "tests/conformance/unit_ledger_conformance.h"

namespace afterimage::testing {
namespace {

class RemoteCacheUnderTest : public CacheUnderTest {
 public:
  RemoteCacheUnderTest()
      : now_(std::make_shared<absl::Time>(absl::Now())),
        limit_(std::make_shared<uint64_t>(0)),
        served_({}, {.clock = [now = now_] { return *now; },
                     .max_bytes_per_set = [limit = limit_] { return *limit; }}) {
    Connect();
  }

  FeatureCatalog& catalog() override { return *catalog_; }
  // Another server process, and another client.
  bool Reopen() override {
    catalog_.reset();
    served_.StopServer();
    served_.StartServer();
    Connect();
    return true;
  }
  bool AdvanceClock(absl::Duration duration) override {
    *now_ += duration;
    return true;
  }
  bool Damage(const Digest256& set_id, const RecordKey& key) override {
    EXPECT_THAT(served_.catalog().DamageForTest(set_id, key), IsOk());
    return true;
  }
  bool LimitBytes(uint64_t bytes) override {
    *limit_ = bytes;
    return true;
  }

 private:
  void Connect() { catalog_ = std::make_unique<RemoteCatalog>(served_.Connect()); }

  const std::shared_ptr<absl::Time> now_;
  const std::shared_ptr<uint64_t> limit_;
  ServedCache served_;
  std::unique_ptr<RemoteCatalog> catalog_;
};

std::unique_ptr<CacheUnderTest> MakeRemoteCache() { return std::make_unique<RemoteCacheUnderTest>(); }

INSTANTIATE_TEST_SUITE_P(Remote, FeatureCatalogConformance, ::testing::Values(MakeRemoteCache));
INSTANTIATE_TEST_SUITE_P(Remote, FeatureStoreConformance, ::testing::Values(MakeRemoteCache));
INSTANTIATE_TEST_SUITE_P(Remote, UnitLedgerConformance, ::testing::Values(MakeRemoteCache));

}  // namespace
}  // namespace afterimage::testing
