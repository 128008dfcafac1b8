// Importance from another teacher's set, so that several teachers of one student have equal masks.
#pragma once

#include "absl/status/status.h"
#include "core/feature/feature_catalog.h"
#include "core/feature/feature_record.h"
#include "core/feature/feature_spec.h"
#include "core/feature/feature_store.h"

namespace afterimage {

// Makes `description` a set whose importance is that of `source`. InvalidArgument: another view or grid (both told),
// or the same features.
absl::Status NameImportanceSource(const SetSummary& source, SetDescription& description);

// Gives `record` the importance that `store` holds for `key`; sees records that have been published since it was
// opened. NotFound: there is none yet; FailedPrecondition: the picture could not be decoded there. Thread-safe.
absl::Status TakeImportance(FeatureStore& store, const RecordKey& key, FeatureRecord& record);

}  // namespace afterimage
