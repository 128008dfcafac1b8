#include "cache_server/precompute/encode_for_set.h"

#include <utility>
#include <vector>

#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "core/mask/mask.h"

namespace afterimage {

absl::StatusOr<std::string> EncodeForSet(const SetDescription& description, const RecordKey& key, FeatureRecord record) {
  const SetSpec& set = description.set;
  if (!set.pixels) record.pixels.clear();
  if (set.token_policy == TokenPolicy::kVisible) {
    std::vector<std::vector<uint16_t>> masks;
    masks.reserve(set.mask.num_masks);
    for (uint32_t m = 0; m < set.mask.num_masks; ++m) {
      AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<uint16_t> mask,
                                  DrawMask(set.mask, key.image, key.view_seed, m, record.importance));
      masks.push_back(std::move(mask));
    }
    record = KeepVisible(record, std::move(masks));
  }
  return EncodeFeatureBlock(record, set.codec, set.profile_digest);
}

}  // namespace afterimage
