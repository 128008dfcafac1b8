// A catalog that lets a test watch, slow down or break the reads of another one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/feature/feature_catalog.h"

namespace afterimage::testing {

struct ReadObserver {
  std::atomic<uint64_t> num_reads = 0;      // records that stores have given out
  std::atomic<uint64_t> num_refreshes = 0;
  // Called in the reading thread before each record; an error ends the read with it. Set before the first read.
  std::function<absl::Status(const RecordKey&)> before_record;
};

class ObservedStore : public FeatureStore {
 public:
  ObservedStore(std::shared_ptr<FeatureStore> store, std::shared_ptr<ReadObserver> observer)
      : store_(std::move(store)), observer_(std::move(observer)) {}

  const SetDescription& description() const override { return store_->description(); }
  const FeatureProfile* profile() const override { return store_->profile(); }

  absl::Status Read(std::span<const RecordKey> keys, const Selection& selection, const MaskChoice& mask,
                    const RecordSink& sink) override {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (observer_->before_record) {
        if (absl::Status status = observer_->before_record(keys[i]); !status.ok()) return status;
      }
      const absl::Status status = store_->Read(keys.subspan(i, 1), selection, mask, [&](size_t, RecordResult result) {
        ++observer_->num_reads;
        return sink(i, std::move(result));
      });
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status Refresh() override {
    ++observer_->num_refreshes;
    return store_->Refresh();
  }

 private:
  const std::shared_ptr<FeatureStore> store_;
  const std::shared_ptr<ReadObserver> observer_;
};

// `catalog` must outlive it. What it opens shares the observer.
class ObservedCatalog : public FeatureCatalog {
 public:
  explicit ObservedCatalog(FeatureCatalog* catalog) : catalog_(catalog), observer_(std::make_shared<ReadObserver>()) {}

  ReadObserver& observer() { return *observer_; }

  absl::StatusOr<OpenedSet> OpenSet(const Digest256& set_id, OpenMode mode) override {
    absl::StatusOr<OpenedSet> opened = catalog_->OpenSet(set_id, mode);
    if (opened.ok()) opened->store = std::make_shared<ObservedStore>(std::move(opened->store), observer_);
    return opened;
  }

  absl::StatusOr<SetDescription> CreateSet(const SetDescription& description) override { return catalog_->CreateSet(description); }
  absl::StatusOr<std::vector<SetSummary>> ListSets() override { return catalog_->ListSets(); }
  absl::StatusOr<std::vector<FailureEntry>> ListFailures(const Digest256& set_id, size_t limit) override {
    return catalog_->ListFailures(set_id, limit);
  }
  absl::Status PutManifest(const Manifest& manifest) override { return catalog_->PutManifest(manifest); }
  absl::StatusOr<std::shared_ptr<const Manifest>> GetManifest(const Digest256& digest) override {
    return catalog_->GetManifest(digest);
  }
  absl::StatusOr<std::vector<Digest256>> ListManifests() override { return catalog_->ListManifests(); }
  absl::Status PutLabels(const Digest256& manifest, const LabelTable& labels) override {
    return catalog_->PutLabels(manifest, labels);
  }
  absl::StatusOr<LabelTable> GetLabels(const Digest256& manifest) override { return catalog_->GetLabels(manifest); }
  absl::Status PutProfile(const FeatureProfile& profile) override { return catalog_->PutProfile(profile); }
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> GetProfile(const Digest256& digest) override {
    return catalog_->GetProfile(digest);
  }
  absl::StatusOr<std::vector<Digest256>> ListProfiles() override { return catalog_->ListProfiles(); }
  absl::StatusOr<ChoiceClaim> ClaimChoice(const Digest256& request, const std::string& worker,
                                          absl::Duration lease_duration) override {
    return catalog_->ClaimChoice(request, worker, lease_duration);
  }
  absl::StatusOr<Digest256> DecideChoice(const Digest256& request, const Digest256& set_id,
                                         bool replace) override {
    return catalog_->DecideChoice(request, set_id, replace);
  }
  absl::Status SetName(const std::string& name, const Digest256& target, bool replace) override {
    return catalog_->SetName(name, target, replace);
  }
  absl::Status RemoveName(const std::string& name) override { return catalog_->RemoveName(name); }
  absl::StatusOr<std::map<std::string, Digest256>> ListNames() override { return catalog_->ListNames(); }

 private:
  FeatureCatalog* const catalog_;
  const std::shared_ptr<ReadObserver> observer_;
};

}  // namespace afterimage::testing
