#include "cache_server/precompute/importance_source.h"

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"

namespace afterimage {

absl::Status NameImportanceSource(const SetSummary& source, SetDescription& description) {
  const FeatureSpec& theirs = source.description.feature;
  const FeatureSpec& ours = description.feature;
  if (theirs.view.ToCanonical() != ours.view.ToCanonical()) {
    return absl::InvalidArgumentError(absl::StrCat("its views are ", theirs.view.ToCanonical().dump(), ", not ",
                                                   ours.view.ToCanonical().dump(),
                                                   ": both teachers must see the same ones"));
  }
  if (theirs.geometry.grid != ours.geometry.grid) {
    return absl::InvalidArgumentError(absl::StrCat("its grid is ", theirs.geometry.grid, " x ", theirs.geometry.grid,
                                                   ", this teacher's ", ours.geometry.grid, " x ", ours.geometry.grid,
                                                   ": importance has a weight per patch (--teacher-input-size changes "
                                                   "the grid)"));
  }
  if (source.description.set.MaskSource() == description.set.feature_id) {
    return absl::InvalidArgumentError("its importance is this teacher's own: leave --importance-from out");
  }
  description.set.importance_from = source.description.set.MaskSource();
  return description.Validate();
}

absl::Status TakeImportance(FeatureStore& store, const RecordKey& key, FeatureRecord& record) {
  const Selection selection{.no_levels = true, .pixels = false};
  absl::StatusOr<PinnedBytes> bytes = ReadOne(store, key, selection);
  if (absl::IsNotFound(bytes.status())) {
    AFTERIMAGE_RETURN_IF_ERROR(store.Refresh());
    bytes = ReadOne(store, key, selection);
  }
  if (absl::IsNotFound(bytes.status())) {
    return absl::NotFoundError(absl::StrCat(bytes.status().message(), ": precompute that set first, over the same images "
                                            "and view seeds"));
  }
  if (!bytes.ok()) return bytes.status();
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block, FeatureBlock::Parse(bytes->bytes));
  if (block.view_digest() != record.view_digest) {
    return absl::FailedPreconditionError(absl::StrCat("record ", key.ToString(), ": another view was seen there, digest ",
                                                      absl::Hex(block.view_digest()), ", here ",
                                                      absl::Hex(record.view_digest)));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(record.importance, block.Importance());
  return absl::OkStatus();
}

}  // namespace afterimage
