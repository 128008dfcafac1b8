// From what the teacher computed to what the set stores.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "core/feature/feature_record.h"
#include "core/feature/feature_spec.h"
#include "core/feature/profile.h"
#include "core/identity/image_key.h"

namespace afterimage {

// The block of one computed record, all tokens in: masks drawn and other tokens dropped where the set's
// policy is `visible`, pixels kept or left out, encoded with the set's codec and `profile` (null where that
// needs none). InvalidArgument: a NaN or Inf (names level and token). Thread-safe.
absl::StatusOr<std::string> EncodeForSet(const SetDescription& description, const FeatureProfile* profile,
                                         const RecordKey& key, FeatureRecord record);

}  // namespace afterimage
