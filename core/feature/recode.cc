#include "core/feature/recode.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/mask/mask.h"

namespace afterimage {

absl::Status CheckRecoding(const SetSpec& source, const SetSpec& target) {
  if (source.feature_id != target.feature_id) {
    return absl::FailedPreconditionError(absl::StrCat("the source is of feature id ", source.feature_id.Hex(),
                                                      ", what is asked for of ", target.feature_id.Hex()));
  }
  if (!std::ranges::includes(source.levels, target.levels)) {
    return absl::FailedPreconditionError(absl::StrCat("levels ", absl::StrJoin(target.levels, ","),
                                                      " are asked for; the source stores ",
                                                      absl::StrJoin(source.levels, ",")));
  }
  if (source.importance_from != target.importance_from) {
    return absl::FailedPreconditionError(absl::StrCat("the source holds the importance of feature ",
                                                      source.MaskSource().Hex(), ", asked for is that of ",
                                                      target.MaskSource().Hex()));
  }
  if (target.pixels && !source.pixels) {
    return absl::FailedPreconditionError("the source stores no pixels");
  }
  if (source.token_policy == TokenPolicy::kAll) return absl::OkStatus();
  if (target.token_policy == TokenPolicy::kAll) {
    return absl::FailedPreconditionError(
        "all tokens are asked for; the source stores the visible ones of its masks");
  }
  if (source.mask.ToCanonical() == target.mask.ToCanonical()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the source stores the tokens of its own masks, ",
                                                    source.mask.ToCanonical().dump(), "; asked for are ",
                                                    target.mask.ToCanonical().dump()));
}

absl::StatusOr<FeatureRecord> RecodeRecord(const SetSpec& target, const RecordKey& key,
                                           FeatureRecord record) {
  std::erase_if(record.levels, [&](const LevelFeatures& level) {
    return !std::ranges::binary_search(target.levels, level.level);
  });
  if (!target.pixels) record.pixels.clear();
  // A source of visible tokens has the masks already.
  if (target.token_policy == TokenPolicy::kAll || !record.masks.empty()) return record;
  std::vector<std::vector<uint16_t>> masks;
  for (uint32_t m = 0; m < target.mask.num_masks; ++m) {
    AFTERIMAGE_ASSIGN_OR_RETURN(masks.emplace_back(),
                                DrawMask(target.mask, key.image, key.view_seed, m, record.importance));
  }
  return KeepVisible(record, std::move(masks));
}

}  // namespace afterimage
