// A set that this process has open.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cache_server/storage/contribution.h"
#include "cache_server/storage/damage_list.h"
#include "cache_server/storage/disk_budget.h"
#include "cache_server/storage/lease_table.h"
#include "cache_server/storage/set_database.h"
#include "cache_server/storage/set_folder.h"
#include "cache_server/storage/unit_marker.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

// What the database has under a record's key.
struct HeldRecord {
  enum class State { kAbsent, kHeld, kDamaged };
  State state = State::kAbsent;
  Digest128 digest;         // kHeld
  bool is_failure = false;  // kHeld
};

struct SetSessionOptions {
  uint64_t quota_bytes = 0;                         // of the set's folder; 0: none
  uint64_t unit_memory_bytes = uint64_t{64} << 20;  // of a unit being written; the rest waits in a file
  absl::Duration poll_interval = absl::Seconds(1);  // of the background thread of a contributor
  bool direct_reads = false;                        // for sets larger than memory
  std::function<absl::Time()> clock = [] { return absl::Now(); };
};

// Shared by the store, ledger and publisher of one set. A reader follows the database. A contributor takes
// the set's ingest lock when it is free and then is the one that ingests what all contributors put into
// incoming/; while another process has the lock it follows too, and tries again at each Poll. Thread-safe.
class SetSession {
 public:
  // DataLoss: the database is damaged; the text names set and file.
  static absl::StatusOr<std::shared_ptr<SetSession>> Open(const SetFolder& folder, SetDescription description,
                                                          OpenMode mode, SetSessionOptions options);
  ~SetSession();

  const SetFolder& folder() const { return folder_; }
  const SetDescription& description() const { return description_; }
  const SetSessionOptions& options() const { return options_; }
  bool contributes() const { return mode_ == OpenMode::kContribute; }
  // True while this process ingests.
  bool is_ingester() const;
  LeaseTable& leases() { return leases_; }
  DiskBudget& budget() { return budget_; }
  const DamageList& damage() const { return damage_; }

  // Null until something was published.
  std::shared_ptr<SetDatabase> database() const;
  absl::StatusOr<std::optional<PinnedBytes>> Get(absl::string_view store_key) const;
  absl::StatusOr<HeldRecord> Find(const RecordKey& key) const;
  // The marker of a unit that is in the database. One whose bytes are damaged is a marker too, with zero
  // counts.
  absl::StatusOr<std::optional<UnitMarker>> FindMarker(const UnitId& unit);
  // The markers of all units of these manifests.
  absl::StatusOr<std::vector<UnitMarker>> Markers(const std::vector<Digest256>& manifests);

  // Sees what others have published since.
  absl::Status Refresh();

  // Contributors only:
  // Becomes the ingester if nobody is; then ingests what is waiting, else catches up.
  absl::Status Poll();
  // In the database, or whole in incoming/.
  absl::StatusOr<bool> IsComplete(const UnitId& unit);
  // Ingests a contribution of our own at once if we are the ingester; otherwise it is left to whoever is.
  // After an error nothing of it is left.
  absl::Status Deliver(const Contribution& contribution);

 private:
  using MarkerKey = std::tuple<Digest256, uint32_t, uint32_t>;  // manifest, shard, first seed

  SetSession(const SetFolder& folder, SetDescription description, OpenMode mode, SetSessionOptions options);
  absl::Status BecomeIngester();
  absl::Status Follow();
  absl::Status IngestFolder(const std::filesystem::path& folder);
  absl::Status IngestContribution(const Contribution& contribution);
  // True if every record is held already; differences are noted as an incident.
  absl::StatusOr<bool> IsRepetition(const Contribution& contribution);
  void RunBackground();
  void HandOver();

  const SetFolder folder_;
  const SetDescription description_;
  const OpenMode mode_;
  const SetSessionOptions options_;
  LeaseTable leases_;
  DiskBudget budget_;
  const DamageList damage_;

  std::mutex role_mutex_;  // one change of role or ingestion at a time; taken before mutex_
  mutable std::mutex mutex_;
  std::shared_ptr<SetDatabase> database_;
  std::map<MarkerKey, UnitMarker> markers_;  // read so far; units only ever become complete

  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::thread background_;
};

}  // namespace afterimage
