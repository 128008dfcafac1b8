#include "cache_server/storage/unit_submission.h"

#include <utility>

#include "cache_server/storage/contribution_writer.h"
#include "core/base/status_macros.h"

namespace afterimage {

absl::Status Submit(SetSession& session, const UnitSubmission& submission) {
  const UnitId& unit = submission.lease.unit;
  UnitMarker marker = submission.marker;
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const std::optional<UnitMarker> earlier,
      session.FindMarker({unit.manifest, unit.shard, unit.seed_begin, unit.seed_begin + 1}));
  if (earlier.has_value()) marker.Absorb(*earlier);
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ContributionWriter> writer,
      ContributionWriter::Open(session.folder(), submission.lease, session.description().layout.num_shards,
                               std::move(marker)));
  size_t next = 0;
  for (uint32_t seed = unit.seed_begin; seed < unit.seed_end; ++seed) {
    AFTERIMAGE_RETURN_IF_ERROR(writer->BeginSeed(seed));
    for (; next < submission.keys.size() && submission.keys[next].view_seed == seed; ++next) {
      AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan block, submission.block(next));
      AFTERIMAGE_RETURN_IF_ERROR(writer->Add(submission.keys[next], block));
    }
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const Contribution contribution, writer->Commit(submission.repaired));
  AFTERIMAGE_RETURN_IF_ERROR(session.Deliver(contribution));
  return session.leases().Release(submission.lease);
}

}  // namespace afterimage
