// The claims of a set in a folder.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cache_server/storage/manifest_folder.h"
#include "cache_server/storage/set_session.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// Leases are files (LeaseTable), completeness is the marker in the database or a whole contribution in
// incoming/. A unit that is complete is not looked into again, except for records on the damage list.
// Thread-safe; any number of processes.
class FolderUnitLedger : public UnitLedger {
 public:
  FolderUnitLedger(std::shared_ptr<SetSession> session, std::shared_ptr<const ManifestFolder> manifests)
      : session_(std::move(session)), manifests_(std::move(manifests)) {}

  absl::StatusOr<ClaimResult> Claim(const ClaimRequest& request) override;
  absl::StatusOr<absl::Time> Renew(const UnitLease& lease, absl::Duration lease_duration) override;
  absl::Status Release(const UnitLease& lease) override;
  absl::StatusOr<LedgerProgress> Progress(const Digest256& manifest, uint32_t num_view_seeds) override;

 private:
  // Damaged records of the unit, in the order of ClaimedUnit::wanted.
  std::vector<RecordKey> DamagedIn(const UnitId& unit, const Manifest& manifest,
                                   const std::set<RecordKey>& damaged) const;
  // What an incomplete unit lacks.
  absl::StatusOr<std::vector<RecordKey>> AbsentIn(const UnitId& unit, const Manifest& manifest,
                                                  const std::set<RecordKey>& damaged) const;
  // FAILED records of the manifest in the (shard, view seed) pairs that are in the set.
  absl::StatusOr<uint64_t> CountFailed(const Manifest& manifest,
                                       const std::set<std::pair<uint32_t, uint32_t>>& held) const;
  // Empty when somebody else has the unit, or nothing is to be done in it (any more).
  absl::StatusOr<std::optional<ClaimedUnit>> TryClaim(const UnitId& unit, const Manifest& manifest,
                                                      const std::set<RecordKey>& damaged,
                                                      const ClaimRequest& request, bool* lost_race);

  const std::shared_ptr<SetSession> session_;
  const std::shared_ptr<const ManifestFolder> manifests_;
};

}  // namespace afterimage
