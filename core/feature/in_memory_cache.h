// A cache that lives in this process's memory: for tests, and for a teacher that is run on line.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

class InMemorySet;

// Implements the whole of FeatureCatalog, FeatureStore, UnitLedger and UnitPublisher, to the same conformance
// suites as the stores on disk. What OpenSet returns shares the set's content and may outlive the catalog.
// Thread-safe.
class InMemoryFeatureCatalog : public FeatureCatalog {
 public:
  struct Options {
    std::function<absl::Time()> clock = [] { return absl::Now(); };  // leases expire by it
    std::function<uint64_t()> max_bytes_per_set;  // none or 0 = no limit; beyond it Add is ResourceExhausted
  };

  InMemoryFeatureCatalog() : InMemoryFeatureCatalog(Options()) {}
  explicit InMemoryFeatureCatalog(Options options);
  ~InMemoryFeatureCatalog() override;

  absl::StatusOr<SetDescription> CreateSet(const SetDescription& description) override;
  absl::StatusOr<std::vector<SetSummary>> ListSets() override;
  absl::StatusOr<OpenedSet> OpenSet(const Digest256& set_id, OpenMode mode) override;
  absl::StatusOr<std::vector<FailureEntry>> ListFailures(const Digest256& set_id, size_t limit) override;

  absl::Status PutManifest(const Manifest& manifest) override;
  absl::StatusOr<std::shared_ptr<const Manifest>> GetManifest(const Digest256& digest) override;
  absl::StatusOr<std::vector<Digest256>> ListManifests() override;

  absl::Status PutLabels(const Digest256& manifest, const LabelTable& labels) override;
  absl::StatusOr<LabelTable> GetLabels(const Digest256& manifest) override;

  absl::Status PutProfile(const FeatureProfile& profile) override;
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> GetProfile(const Digest256& digest) override;
  absl::StatusOr<std::vector<Digest256>> ListProfiles() override;

  absl::StatusOr<ChoiceClaim> ClaimChoice(const Digest256& request, const std::string& worker,
                                          absl::Duration lease_duration) override;
  absl::StatusOr<Digest256> DecideChoice(const Digest256& request, const Digest256& set_id,
                                         bool replace) override;

  absl::Status SetName(const std::string& name, const Digest256& target, bool replace) override;
  absl::Status RemoveName(const std::string& name) override;
  absl::StatusOr<std::map<std::string, Digest256>> ListNames() override;

  // Flips one bit of a stored record, as a bad disk would. NotFound: no such set or record.
  absl::Status DamageForTest(const Digest256& set_id, const RecordKey& key);

 private:
  using Manifests = std::map<Digest256, std::shared_ptr<const Manifest>>;

  absl::StatusOr<std::shared_ptr<InMemorySet>> FindSet(const Digest256& set_id);

  const Options options_;
  std::mutex mutex_;
  std::map<Digest256, std::shared_ptr<InMemorySet>> sets_;
  std::shared_ptr<Manifests> manifests_;  // shared with the ledgers, which outlive the catalog
  std::shared_ptr<std::mutex> manifests_mutex_;
  std::map<Digest256, LabelTable> labels_;
  std::map<Digest256, std::shared_ptr<const FeatureProfile>> profiles_;
  struct Choice {
    std::optional<Digest256> set_id;
    std::string worker;
    absl::Time expires = absl::InfinitePast();
  };
  std::map<Digest256, Choice> choices_;
  std::map<std::string, Digest256> names_;
};

}  // namespace afterimage
