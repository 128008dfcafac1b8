// What an implementation of the cache's interfaces gives to the conformance suites.
//
// A test program for an implementation includes the suites and instantiates them:
//
//   INSTANTIATE_TEST_SUITE_P(RocksDb, FeatureStoreConformance, ::testing::Values(MakeRocksDbCache));
//
// and links afterimage_conformance.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/feature/feature_catalog.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::testing {

// An empty cache of the test's own. What an implementation cannot do it answers with false, and the test that
// needs it is skipped.
class CacheUnderTest {
 public:
  virtual ~CacheUnderTest() = default;

  // Valid until Reopen.
  virtual FeatureCatalog& catalog() = 0;
  // Closes everything and opens the same cache again, as another process would. All opened sets have been
  // dropped.
  virtual bool Reopen() { return false; }
  // Lets leases age: by a clock of the test's, or by sleeping. Suites use leases of 2 seconds where they let
  // them expire.
  virtual bool AdvanceClock(absl::Duration) { return false; }
  // Flips a bit in a section of a stored record. A store that must be closed for it reopens itself; opened
  // sets have been dropped.
  virtual bool Damage(const Digest256& /*set_id*/, const RecordKey&) { return false; }
  // From now on each set may hold this many bytes.
  virtual bool LimitBytes(uint64_t) { return false; }
};

using CacheFactory = std::function<std::unique_ptr<CacheUnderTest>()>;

// The base of the suites: a fresh cache per test.
class CacheConformance : public ::testing::TestWithParam<CacheFactory> {
 protected:
  void SetUp() override {
    cache_ = GetParam()();
    ASSERT_NE(cache_, nullptr) << "the implementation's factory failed";
  }

  FeatureCatalog& catalog() { return cache_->catalog(); }

  // Creates a set (if need be) and opens it for contribution; fails the test when that is impossible.
  OpenedSet CreateAndOpen(const SetDescription& description) {
    if (!description.set.profile_digest.IsZero()) {
      EXPECT_THAT(catalog().PutProfile(MakeSyntheticProfile(description)), IsOk());
    }
    const absl::StatusOr<SetDescription> created = catalog().CreateSet(description);
    EXPECT_THAT(created, IsOk());
    return Open(description);
  }
  OpenedSet Open(const SetDescription& description) {
    absl::StatusOr<OpenedSet> opened = catalog().OpenSet(description.set.Id(), OpenMode::kContribute);
    EXPECT_THAT(opened, IsOk());
    if (!opened.ok()) return OpenedSet();
    EXPECT_NE(opened->store, nullptr);
    EXPECT_NE(opened->ledger, nullptr);
    EXPECT_NE(opened->publisher, nullptr);
    return *std::move(opened);
  }
  Digest256 PutManifest(const Manifest& manifest) {
    EXPECT_THAT(catalog().PutManifest(manifest), IsOk());
    return manifest.digest();
  }
  static ClaimRequest RequestOf(const Digest256& manifest, uint32_t num_view_seeds, const std::string& worker,
                                uint32_t max_units = 1) {
    ClaimRequest request;
    request.manifest = manifest;
    request.num_view_seeds = num_view_seeds;
    request.worker = worker;
    request.max_units = max_units;
    return request;
  }

  std::unique_ptr<CacheUnderTest> cache_;
};

// The states of `keys`, in order.
inline std::vector<RecordState> StatesOf(FeatureStore& store, const std::vector<RecordKey>& keys) {
  std::vector<RecordState> states(keys.size(), RecordState::kMissing);
  EXPECT_THAT(store.Read(keys, Selection(), MaskChoice(),
                         [&](size_t index, RecordResult result) {
                           states[index] = result.state;
                           return true;
                         }),
              IsOk());
  return states;
}

}  // namespace afterimage::testing
