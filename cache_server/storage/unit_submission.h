// Puts a computed unit into a set.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "cache_server/storage/set_session.h"
#include "cache_server/storage/unit_marker.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// What a unit adds to the database; perhaps nothing but the fact that it is complete.
struct UnitSubmission {
  UnitLease lease;
  UnitMarker marker;                // of what is new; earlier markers of the unit are absorbed
  std::vector<RecordKey> keys;      // by view seed, then image key
  std::vector<RecordKey> repaired;  // those of `keys` that were damaged
  // The block of keys[i]; valid until the next call.
  std::function<absl::StatusOr<ByteSpan>(size_t index)> block;
};

// Writes the unit's files and delivers them, whole or not at all, then ends the lease.
// ResourceExhausted: the disk is full or the quota reached; nothing was published.
absl::Status Submit(SetSession& session, const UnitSubmission& submission);

}  // namespace afterimage
