// Puts a computed unit into a set.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "cache_server/storage/contribution_writer.h"
#include "cache_server/storage/set_session.h"
#include "cache_server/storage/unit_marker.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// What the records in a unit's files come to; perhaps nothing but the fact that the unit is complete.
struct UnitSubmission {
  UnitLease lease;
  UnitMarker marker;                // of what is new; earlier markers of the unit are absorbed
  std::vector<RecordKey> repaired;  // records that were damaged before
};

// Commits the unit's files and delivers them, whole or not at all, then ends the lease.
// ResourceExhausted: the disk is full or the quota reached; nothing was published.
absl::Status Submit(SetSession& session, const UnitSubmission& submission, ContributionWriter& files);

}  // namespace afterimage
