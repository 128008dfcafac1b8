#include "core/feature/feature_store.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/mask/mask.h"

namespace afterimage {
namespace {

absl::StatusOr<std::vector<uint16_t>> MaskOfRecord(const SetDescription& description, const RecordKey& key,
                                                   const FeatureBlock& block, const MaskChoice& mask) {
  if (description.set.token_policy == TokenPolicy::kVisible) return block.Mask(mask.mask_index);
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<float> importance, block.Importance());
  return DrawMask(mask.spec, key.image, key.view_seed, mask.mask_index, importance);
}

absl::StatusOr<PinnedBytes> SelectedPart(const SetDescription& description, const RecordKey& key,
                                         const FeatureBlock& block, const PinnedBytes& value,
                                         const Selection& selection, const MaskChoice& mask) {
  std::vector<uint16_t> patches;
  if (selection.tokens == Selection::Tokens::kMask) {
    AFTERIMAGE_ASSIGN_OR_RETURN(patches, MaskOfRecord(description, key, block, mask));
  }
  return SelectFromBlock(block, value, selection, patches);
}

RecordResult Without(RecordState state, const RecordKey& key, absl::string_view why) {
  RecordResult result;
  result.state = state;
  result.reason = absl::StrCat("record ", key.ToString(), ": ", why);
  return result;
}

}  // namespace

const char* RecordStateName(RecordState state) {
  switch (state) {
    case RecordState::kOk:
      return "OK";
    case RecordState::kMissing:
      return "MISSING";
    case RecordState::kDamaged:
      return "DAMAGED";
    case RecordState::kFailed:
      return "FAILED";
  }
  return "UNKNOWN";
}

absl::StatusOr<PinnedBytes> ReadOne(FeatureStore& store, const RecordKey& key, const Selection& selection,
                                    const MaskChoice& mask) {
  RecordResult read;
  AFTERIMAGE_RETURN_IF_ERROR(store.Read({&key, 1}, selection, mask, [&](size_t, RecordResult result) {
    read = std::move(result);
    return true;
  }));
  switch (read.state) {
    case RecordState::kOk:
      return std::move(read.block);
    case RecordState::kMissing:
      return absl::NotFoundError(absl::StrCat("record ", key.ToString(), " is not in the set"));
    case RecordState::kDamaged:
      return absl::DataLossError(read.reason);
    case RecordState::kFailed:
      return absl::FailedPreconditionError(read.reason);
  }
  return absl::InternalError("a record state that this program does not know");
}

RecordResult ResultFromStored(const SetDescription& description, const RecordKey& key,
                              const PinnedBytes& value, bool found, const Selection& selection,
                              const MaskChoice& mask, const FeatureProfile* profile) {
  RecordResult result;
  if (!found) return result;
  const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(value, profile);
  if (!block.ok()) return Without(RecordState::kDamaged, key, block.status().message());
  if (block->is_failure()) {
    const absl::StatusOr<std::string> reason = block->failure_reason();
    if (!reason.ok()) return Without(RecordState::kDamaged, key, reason.status().message());
    return Without(RecordState::kFailed, key, *reason);
  }
  absl::StatusOr<PinnedBytes> part = SelectedPart(description, key, *block, value, selection, mask);
  if (!part.ok()) return Without(RecordState::kDamaged, key, part.status().message());
  result.state = RecordState::kOk;
  result.block = *std::move(part);
  return result;
}

absl::Status ValidateSelection(const SetDescription& description, const Selection& selection) {
  const std::vector<uint32_t>& stored = description.set.levels;
  if (selection.IsWhole()) return absl::OkStatus();
  const Codec encoding = CodecOf(selection.encoding);
  if (NeedsProfile(encoding) && description.set.profile_digest.IsZero()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "encoding ", CodecName(encoding), " is asked for, and set ", description.set.Id().Hex(), " of codec ",
        CodecName(description.set.codec),
        " names no profile: make one with afterimage calibrate and a set that has it with afterimage recode "
        "--profile, or ask for f16"));
  }
  if (selection.no_levels && !selection.levels.empty()) {
    return absl::InvalidArgumentError("a selection names levels and says no_levels");
  }
  if (std::adjacent_find(selection.levels.begin(), selection.levels.end(), std::greater_equal<>()) !=
      selection.levels.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("levels ", absl::StrJoin(selection.levels, ","), " are not ascending"));
  }
  for (const uint32_t level : selection.levels) {
    if (!std::binary_search(stored.begin(), stored.end(), level)) {
      return absl::InvalidArgumentError(absl::StrCat("level ", level, " is not in set ",
                                                     description.set.Id().Hex(), "; it has the levels ",
                                                     absl::StrJoin(stored, ", ")));
    }
  }
  if (selection.pixels && !description.set.pixels) {
    return absl::InvalidArgumentError(absl::StrCat("set ", description.set.Id().Hex(),
                                                   " was made without pixels; ask for records without them"));
  }
  return absl::OkStatus();
}

absl::Status ValidateMaskChoice(const SetDescription& description, const Selection& selection,
                                const MaskChoice& mask) {
  if (selection.tokens != Selection::Tokens::kMask) return absl::OkStatus();
  if (description.set.token_policy == TokenPolicy::kVisible) {
    if (mask.mask_index < description.set.mask.num_masks) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("mask ", mask.mask_index, " is asked for, set ",
                                                   description.set.Id().Hex(), " stores ",
                                                   description.set.mask.num_masks, " masks per view"));
  }
  const uint32_t num_patches = description.feature.geometry.num_patches();
  if (mask.spec.num_visible >= 1 && mask.spec.num_visible <= num_patches) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a mask of ", mask.spec.num_visible, " visible patches, the teacher has ", num_patches));
}

}  // namespace afterimage
