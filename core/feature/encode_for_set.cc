#include "core/feature/encode_for_set.h"

#include <utility>

#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "core/feature/recode.h"

namespace afterimage {

absl::StatusOr<std::string> EncodeForSet(const SetDescription& description, const FeatureProfile* profile,
                                         const RecordKey& key, FeatureRecord record) {
  AFTERIMAGE_ASSIGN_OR_RETURN(record, RecodeRecord(description.set, key, std::move(record)));
  return EncodeFeatureBlock(record, description.set.codec, profile, description.set.pixel_coding);
}

}  // namespace afterimage
