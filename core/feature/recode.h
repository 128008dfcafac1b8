// A record as another set of the same feature id stores it.
#pragma once

#include "absl/status/statusor.h"
#include "core/feature/feature_record.h"
#include "core/feature/feature_spec.h"
#include "core/identity/image_key.h"

namespace afterimage {

// OK if every record of `target` can be made of one of `source`, without the teacher. FailedPrecondition:
// another feature id, or the importance of another one (both told); a level, tokens or pixels that the source does not store; other masks than
// those whose tokens the source keeps.
absl::Status CheckRecoding(const SetSpec& source, const SetSpec& target);

// The record of `key` with the target's levels, tokens, masks and pixels. `record` is what the source stores,
// whole. The two sets have passed CheckRecoding.
absl::StatusOr<FeatureRecord> RecodeRecord(const SetSpec& target, const RecordKey& key, FeatureRecord record);

}  // namespace afterimage
