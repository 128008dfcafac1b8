#include "cache_server/storage/folder_unit_ledger.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/contribution_writer.h"
#include "cache_server/storage/unit_submission.h"
#include "core/base/status_macros.h"

namespace afterimage {

std::vector<RecordKey> FolderUnitLedger::DamagedIn(const UnitId& unit, const Manifest& manifest,
                                                   const std::set<RecordKey>& damaged) const {
  std::vector<RecordKey> wanted;
  for (const RecordKey& key : damaged) {  // RecordKey orders by image, then view seed
    if (key.view_seed < unit.seed_begin || key.view_seed >= unit.seed_end) continue;
    if (ShardOfKey(key.image, session_->description().layout.num_shards) != unit.shard) continue;
    if (!std::binary_search(manifest.keys().begin(), manifest.keys().end(), key.image)) continue;
    wanted.push_back(key);
  }
  return wanted;
}

absl::StatusOr<std::vector<RecordKey>> FolderUnitLedger::AbsentIn(const UnitId& unit,
                                                                  const Manifest& manifest,
                                                                  const std::set<RecordKey>& damaged) const {
  const KeyIndexRange range = ShardKeys(manifest, unit.shard, session_->description().layout.num_shards);
  std::vector<RecordKey> wanted;
  for (size_t i = range.begin; i < range.end; ++i) {
    for (uint32_t seed = unit.seed_begin; seed < unit.seed_end; ++seed) {
      const RecordKey key{manifest.keys()[i], seed};
      AFTERIMAGE_ASSIGN_OR_RETURN(const HeldRecord held, session_->Find(key));
      if (held.state != HeldRecord::State::kHeld || damaged.contains(key)) wanted.push_back(key);
    }
  }
  return wanted;
}

absl::StatusOr<std::optional<ClaimedUnit>> FolderUnitLedger::TryClaim(const UnitId& unit,
                                                                      const Manifest& manifest,
                                                                      const std::set<RecordKey>& damaged,
                                                                      const ClaimRequest& request,
                                                                      bool* lost_race) {
  LeaseTable& leases = session_->leases();
  AFTERIMAGE_ASSIGN_OR_RETURN(std::optional<UnitLease> lease,
                              leases.Acquire(unit, request.worker, request.lease_duration));
  *lost_race = !lease.has_value();
  if (*lost_race) return std::optional<ClaimedUnit>();
  ClaimedUnit claimed{.lease = *lease};
  // Asked after the lease is ours: its last holder may have published just before it let go.
  const absl::Status status = [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(const bool complete, session_->IsComplete(unit));
    if (complete) {
      claimed.wanted = DamagedIn(unit, manifest, damaged);
    } else {
      AFTERIMAGE_ASSIGN_OR_RETURN(claimed.wanted, AbsentIn(unit, manifest, damaged));
    }
    if (!claimed.wanted.empty()) return absl::OkStatus();
    if (complete) return leases.Release(*lease);
    AFTERIMAGE_ASSIGN_OR_RETURN(
        const std::unique_ptr<ContributionWriter> nothing,
        ContributionWriter::Open(session_->folder(), *lease, session_->description().layout.num_shards));
    return Submit(*session_, {.lease = *lease, .marker = {.unit = unit}}, *nothing);
  }();
  if (!status.ok()) {
    leases.Release(*lease).IgnoreError();  // it would expire anyway; the first error counts
    return status;
  }
  if (claimed.wanted.empty()) return std::optional<ClaimedUnit>();
  return std::optional<ClaimedUnit>(std::move(claimed));
}

absl::StatusOr<ClaimResult> FolderUnitLedger::Claim(const ClaimRequest& request) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateClaim(request));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> manifest,
                              manifests_->Get(request.manifest));
  // Leases first, then contributions, then the database: what moves on in between is seen further on.
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto leased, session_->leases().Living());
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto waiting, WaitingUnits(session_->folder().incoming()));
  AFTERIMAGE_RETURN_IF_ERROR(session_->Poll());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::set<RecordKey> damaged, session_->damage().Read());
  const UnitLayout& layout = session_->description().layout;

  ClaimResult result;
  bool all_complete = true;
  for (const UnitId& unit : UnitsOf(layout, request.manifest, request.num_view_seeds, request.seed_major)) {
    const KeyIndexRange range = ShardKeys(*manifest, unit.shard, layout.num_shards);
    if (range.begin == range.end) continue;
    const std::string name = unit.ToString();
    if (waiting.contains(name)) continue;
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<UnitMarker> marker, session_->FindMarker(unit));
    if (marker.has_value() && DamagedIn(unit, *manifest, damaged).empty()) continue;
    if (const auto holder = leased.find(name); holder != leased.end()) {
      all_complete = false;
      if (holder->second != request.worker) ++result.leased_by_others;
      continue;
    }
    if (result.units.size() == request.max_units) {
      all_complete = false;
      continue;
    }
    bool lost_race = false;
    AFTERIMAGE_ASSIGN_OR_RETURN(std::optional<ClaimedUnit> claimed,
                                TryClaim(unit, *manifest, damaged, request, &lost_race));
    if (lost_race) ++result.leased_by_others;
    if (lost_race || claimed.has_value()) all_complete = false;
    if (claimed.has_value()) result.units.push_back(*std::move(claimed));
  }
  result.all_complete = all_complete;
  return result;
}

absl::StatusOr<absl::Time> FolderUnitLedger::Renew(const UnitLease& lease, absl::Duration lease_duration) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateLeaseDuration(lease_duration));
  return session_->leases().Renew(lease, lease_duration);
}

absl::Status FolderUnitLedger::Release(const UnitLease& lease) { return session_->leases().Release(lease); }

absl::StatusOr<LedgerProgress> FolderUnitLedger::Progress(const Digest256& digest, uint32_t num_view_seeds) {
  if (num_view_seeds == 0) return absl::InvalidArgumentError("progress: num_view_seeds is 0");
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> manifest, manifests_->Get(digest));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto leased, session_->leases().Living());
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto waiting, WaitingUnits(session_->folder().incoming()));
  AFTERIMAGE_RETURN_IF_ERROR(session_->Poll());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::set<RecordKey> damaged, session_->damage().Read());
  const UnitLayout& layout = session_->description().layout;

  LedgerProgress progress;
  progress.records_total = uint64_t{manifest->num_keys()} * num_view_seeds;
  progress.seed_complete.assign(num_view_seeds, true);
  std::set<std::pair<uint32_t, uint32_t>> held;  // (shard, view seed)
  for (const UnitId& unit : UnitsOf(layout, digest, num_view_seeds, /*seed_major=*/false)) {
    ++progress.units_total;
    const KeyIndexRange range = ShardKeys(*manifest, unit.shard, layout.num_shards);
    const bool is_waiting = waiting.contains(unit.ToString());
    bool unit_complete = true;
    for (uint32_t seed = unit.seed_begin; seed < unit.seed_end && range.begin != range.end; ++seed) {
      // Asked per seed: a unit that ended earlier under a smaller K has its seeds complete.
      const UnitId up_to_seed{unit.manifest, unit.shard, unit.seed_begin, seed + 1};
      AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<UnitMarker> marker, session_->FindMarker(up_to_seed));
      const bool in_set = is_waiting || marker.has_value();
      const size_t num_damaged =
          in_set ? DamagedIn({unit.manifest, unit.shard, seed, seed + 1}, *manifest, damaged).size() : 0;
      if (in_set) {
        held.emplace(unit.shard, seed);
        progress.records_present += range.end - range.begin - num_damaged;
      }
      if (!in_set || num_damaged > 0) progress.seed_complete[seed] = unit_complete = false;
    }
    if (unit_complete) {
      ++progress.units_complete;
    } else if (leased.contains(unit.ToString())) {
      ++progress.units_leased;
    }
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(progress.records_failed, CountFailed(*manifest, held));
  return progress;
}

absl::StatusOr<uint64_t> FolderUnitLedger::CountFailed(
    const Manifest& manifest, const std::set<std::pair<uint32_t, uint32_t>>& held) const {
  // A failure is listed by the unit that met it first, which may be another manifest's.
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> manifests, manifests_->List());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<UnitMarker> markers, session_->Markers(manifests));
  std::set<RecordKey> failed;
  for (const UnitMarker& marker : markers) {
    for (const FailureEntry& entry : marker.failures) {
      const uint32_t shard = ShardOfKey(entry.key.image, session_->description().layout.num_shards);
      const bool counts = held.contains({shard, entry.key.view_seed}) &&
                          std::binary_search(manifest.keys().begin(), manifest.keys().end(), entry.key.image);
      if (counts) failed.insert(entry.key);
    }
  }
  return failed.size();
}

}  // namespace afterimage
