// A cache in a folder: the embedded store, and what a server serves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cache_server/storage/choice_folder.h"
#include "cache_server/storage/manifest_folder.h"
#include "cache_server/storage/profile_folder.h"
#include "cache_server/storage/set_inspection.h"
#include "cache_server/storage/set_session.h"
#include "core/base/keyed_mutex.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

inline constexpr int64_t kCacheFormatVersion = 2;

struct FolderCatalogOptions {
  bool create = false;  // make an empty cache where there is none
  // Of each set's folder. A hard stop: beyond it publishing is ResourceExhausted. 0: none.
  uint64_t quota_bytes = 0;
  std::function<absl::Time()> clock = [] { return absl::Now(); };  // leases expire by it
  // How often a contributor looks for units that others left for it to ingest, and for a lock that became
  // free.
  absl::Duration poll_interval = absl::Seconds(1);
  // Of a unit being written, kept in memory; the rest waits in a nameless file.
  uint64_t unit_memory_bytes = uint64_t{64} << 20;
  bool direct_reads = false;  // around the page cache, for sets larger than memory
};

// How a set's database lies on the disk.
struct SetFileStatistics {
  std::vector<uint64_t> files_per_level;
  uint64_t compaction_bytes_written = 0;  // since this process opened the set
};

// docs/operations/cache_folder.md describes the layout. Any number of processes may have one cache open: each
// set is written by the one that holds its lock, others contribute to it and read it. Opened with kRead,
// nothing is ever written into the folder. What OpenSet returns may outlive the catalog. Thread-safe.
class FolderCatalog : public FeatureCatalog {
 public:
  // NotFound: no cache there and `create` not given. FailedPrecondition: another format version (both told),
  // or a folder with other things in it.
  static absl::StatusOr<std::unique_ptr<FolderCatalog>> Open(const std::filesystem::path& path,
                                                             FolderCatalogOptions options = {});

  absl::StatusOr<SetDescription> CreateSet(const SetDescription& description) override;
  // A set whose database is damaged is listed without numbers; OpenSet tells what is wrong with it.
  absl::StatusOr<std::vector<SetSummary>> ListSets() override;
  // DataLoss: the set's database cannot be opened; the text names set and file. Other sets are not affected.
  absl::StatusOr<OpenedSet> OpenSet(const Digest256& set_id, OpenMode mode) override;
  absl::StatusOr<std::vector<FailureEntry>> ListFailures(const Digest256& set_id, size_t limit) override;

  absl::Status PutManifest(const Manifest& manifest) override { return manifests_->Put(manifest); }
  absl::StatusOr<std::shared_ptr<const Manifest>> GetManifest(const Digest256& digest) override {
    return manifests_->Get(digest);
  }
  absl::StatusOr<std::vector<Digest256>> ListManifests() override { return manifests_->List(); }

  absl::Status PutLabels(const Digest256& manifest, const LabelTable& labels) override {
    return manifests_->PutLabels(manifest, labels);
  }
  absl::StatusOr<LabelTable> GetLabels(const Digest256& manifest) override {
    return manifests_->GetLabels(manifest);
  }

  absl::Status PutProfile(const FeatureProfile& profile) override { return profiles_.Put(profile); }
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> GetProfile(const Digest256& digest) override {
    return profiles_.Get(digest);
  }
  absl::StatusOr<std::vector<Digest256>> ListProfiles() override { return profiles_.List(); }

  absl::StatusOr<ChoiceClaim> ClaimChoice(const Digest256& request, const std::string& worker,
                                          absl::Duration lease_duration) override {
    return choices_.Claim(request, worker, lease_duration);
  }
  absl::StatusOr<Digest256> DecideChoice(const Digest256& request, const Digest256& set_id,
                                         bool replace) override {
    return choices_.Decide(request, set_id, replace);
  }

  absl::Status SetName(const std::string& name, const Digest256& target, bool replace) override;
  absl::Status RemoveName(const std::string& name) override;
  absl::StatusOr<std::map<std::string, Digest256>> ListNames() override;

  // Checks every byte of a set; changes nothing.
  absl::StatusOr<VerifyReport> VerifySet(const Digest256& set_id, const VerifyProgress& progress = {});
  // The next claims want these records again. The one thing that writes without being a contributor.
  absl::Status MarkDamaged(const Digest256& set_id, const std::vector<RecordKey>& keys);
  absl::StatusOr<SetFileStatistics> FileStatistics(const Digest256& set_id);
  // Another quota from now on, for sets that are open too.
  void SetQuota(uint64_t quota_bytes);

  const std::filesystem::path& path() const { return path_; }

 private:
  FolderCatalog(const std::filesystem::path& path, FolderCatalogOptions options);
  absl::StatusOr<SetDescription> ReadDescription(const Digest256& set_id) const;
  // One session per set and mode in this process; readers share a contributor's. Its database is opened, or
  // read anew, while other sets are free to be.
  absl::StatusOr<std::shared_ptr<SetSession>> Session(const Digest256& set_id, OpenMode mode);
  absl::Status ChangeNames(const std::function<absl::Status(std::map<std::string, Digest256>&)>& change);

  const std::filesystem::path path_;
  const std::shared_ptr<ManifestFolder> manifests_;
  ProfileFolder profiles_;
  const ChoiceFolder choices_;
  KeyedMutex<Digest256> opening_;  // taken before mutex_
  std::mutex mutex_;
  FolderCatalogOptions options_;
  std::map<Digest256, std::weak_ptr<SetSession>> readers_;
  std::map<Digest256, std::weak_ptr<SetSession>> contributors_;
};

}  // namespace afterimage
