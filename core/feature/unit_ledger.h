// Who computes what: units are claimed, renewed, finished or given back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/base/digest.h"
#include "core/feature/feature_spec.h"
#include "core/feature/manifest.h"
#include "core/identity/image_key.h"

namespace afterimage {

// (manifest, shard of the key space, aligned range of view seeds). What is leased, computed and published
// whole.
struct UnitId {
  Digest256 manifest;
  uint32_t shard = 0;
  uint32_t seed_begin = 0;
  uint32_t seed_end = 0;  // exclusive

  auto operator<=>(const UnitId&) const = default;
  // "<first 16 hex digits of the manifest>-s<shard>-v<begin>-<end>": a file name, and a text for people.
  std::string ToString() const;
};

struct UnitLease {
  UnitId unit;
  std::string worker;
  std::string token;  // opaque; renew, finish and release present it
  absl::Time expires;
};

// A claimed unit and what is to be computed in it: the keys absent or DAMAGED, ascending, per view seed.
struct ClaimedUnit {
  UnitLease lease;
  std::vector<RecordKey> wanted;  // sorted by (image, view seed): a picture is decoded once for all its seeds
};

struct ClaimRequest {
  Digest256 manifest;
  uint32_t num_view_seeds = 1;  // K: seeds 0..K-1
  std::string worker;           // unique per worker process
  uint32_t max_units = 1;       // consecutive units
  bool seed_major = false;      // finish one seed range before the next one
  absl::Duration lease_duration = absl::Seconds(60);
};

struct ClaimResult {
  std::vector<ClaimedUnit> units;  // may be empty
  bool all_complete = false;       // nothing is left to claim nor leased by others
  uint64_t leased_by_others = 0;   // units: come back later
};

struct LedgerProgress {
  uint64_t units_total = 0;
  uint64_t units_complete = 0;
  uint64_t units_leased = 0;
  uint64_t records_total = 0;    // num_keys * K
  uint64_t records_present = 0;  // in complete units: OK and FAILED
  uint64_t records_failed = 0;
  std::vector<bool> seed_complete;  // per view seed 0..K-1
};

// The claims of one set. Thread-safe; several processes may use one ledger at once. Leases expire, so that
// the units of a dead worker are computed by another.
class UnitLedger {
 public:
  virtual ~UnitLedger() = default;

  // NotFound: the catalog has no such manifest. InvalidArgument: K or max_units of 0, lease above the limit.
  virtual absl::StatusOr<ClaimResult> Claim(const ClaimRequest& request) = 0;
  // The new expiry. FailedPrecondition: the lease has expired and another worker holds the unit, or it is
  // finished.
  virtual absl::StatusOr<absl::Time> Renew(const UnitLease& lease, absl::Duration lease_duration) = 0;
  // Gives a unit back uncomputed. Releasing what one does not hold is OK.
  virtual absl::Status Release(const UnitLease& lease) = 0;
  virtual absl::StatusOr<LedgerProgress> Progress(const Digest256& manifest, uint32_t num_view_seeds) = 0;
};

// A lease that is not renewed for this long is too long to wait for; longer ones are refused.
inline constexpr absl::Duration kMaxLeaseDuration = absl::Minutes(30);

// The units of a manifest for view seeds 0..K-1 in the order of claiming: shard by shard, or (seed_major)
// seed range by seed range. Seed ranges are aligned to layout.seeds_per_unit; the last one ends at K, so when
// K grows its successor is another unit that wants only the new seeds.
std::vector<UnitId> UnitsOf(const UnitLayout& layout, const Digest256& manifest, uint32_t num_view_seeds,
                            bool seed_major);

// What Claim and Renew refuse in every implementation: InvalidArgument names the field and its limit.
absl::Status ValidateClaim(const ClaimRequest& request);
absl::Status ValidateLeaseDuration(absl::Duration lease_duration);

}  // namespace afterimage
