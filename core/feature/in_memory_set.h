// One set of an InMemoryFeatureCatalog. Private to core/feature.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/feature/feature_catalog.h"

namespace afterimage {

// Records, completion markers and leases behind one mutex. The store, ledger and publisher that Open hands
// out share it. Thread-safe.
class InMemorySet : public std::enable_shared_from_this<InMemorySet> {
 public:
  using FindManifest = std::function<absl::StatusOr<std::shared_ptr<const Manifest>>(const Digest256&)>;
  // In the order of a store: view seed, then image.
  struct SeedMajor {
    bool operator()(const RecordKey& a, const RecordKey& b) const {
      return std::pair(a.view_seed, a.image) < std::pair(b.view_seed, b.image);
    }
  };
  using Blocks = std::map<RecordKey, PinnedBytes, SeedMajor>;

  // `profile`: null where the set's codec needs none.
  InMemorySet(SetDescription description, std::shared_ptr<const FeatureProfile> profile,
              std::function<absl::Time()> clock, std::function<uint64_t()> max_bytes,
              FindManifest find_manifest);

  OpenedSet Open(OpenMode mode);
  SetSummary Summary();
  std::vector<FailureEntry> Failures(size_t limit);
  absl::Status Damage(const RecordKey& key);

  const SetDescription& description() const { return description_; }
  const FeatureProfile* profile() const { return profile_.get(); }
  absl::Status Read(std::span<const RecordKey> keys, const Selection& selection, const MaskChoice& mask,
                    const RecordSink& sink);

  absl::StatusOr<ClaimResult> Claim(const ClaimRequest& request);
  absl::StatusOr<absl::Time> Renew(const UnitLease& lease, absl::Duration lease_duration);
  absl::Status Release(const UnitLease& lease);
  absl::StatusOr<LedgerProgress> Progress(const Digest256& manifest, uint32_t num_view_seeds);

  absl::StatusOr<std::unique_ptr<UnitWriter>> OpenWriter(const UnitLease& lease);
  // ResourceExhausted when `more` bytes would exceed the limit.
  absl::Status CheckSpace(uint64_t more);
  absl::StatusOr<PublishReport> Publish(const UnitId& unit, const Manifest& manifest, const Blocks& blocks,
                                        const UnitMetadata& metadata);

 private:
  struct Held {
    PinnedBytes block;
    Digest128 digest;
    bool failed = false;
    bool damaged = false;  // as a read has found
  };

  // All of these need mutex_.
  bool IsComplete(const UnitId& unit) const;
  bool HoldsLease(const UnitLease& lease) const;
  std::vector<RecordKey> Wanted(const UnitId& unit, const Manifest& manifest) const;
  void Write(const RecordKey& key, const PinnedBytes& block);

  const Digest256 id_;
  const SetDescription description_;
  const std::shared_ptr<const FeatureProfile> profile_;
  const std::function<absl::Time()> clock_;
  const std::function<uint64_t()> max_bytes_;
  const FindManifest find_manifest_;

  std::mutex mutex_;
  std::map<RecordKey, Held, SeedMajor> records_;
  std::map<UnitId, UnitMetadata> complete_;
  std::map<UnitId, UnitLease> leases_;
  uint64_t stored_bytes_ = 0;
  uint64_t num_leases_ = 0;  // ever given, for tokens
};

}  // namespace afterimage
