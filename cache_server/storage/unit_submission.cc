#include "cache_server/storage/unit_submission.h"

#include <optional>

#include "core/base/status_macros.h"

namespace afterimage {

absl::Status Submit(SetSession& session, const UnitSubmission& submission, ContributionWriter& files) {
  const UnitId& unit = submission.lease.unit;
  UnitMarker marker = submission.marker;
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const std::optional<UnitMarker> earlier,
      session.FindMarker({unit.manifest, unit.shard, unit.seed_begin, unit.seed_begin + 1}));
  if (earlier.has_value()) marker.Absorb(*earlier);
  AFTERIMAGE_ASSIGN_OR_RETURN(const Contribution contribution, files.Commit(marker, submission.repaired));
  AFTERIMAGE_RETURN_IF_ERROR(session.Deliver(contribution));
  return session.leases().Release(submission.lease);
}

}  // namespace afterimage
