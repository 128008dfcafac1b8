#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/order/epoch_source.h"

namespace afterimage {
namespace {

absl::Status CheckOrder(const OrderSpec& order, const SetDescription& description, const Manifest& manifest) {
  AFTERIMAGE_RETURN_IF_ERROR(order.Validate());
  if (order.manifest != manifest.digest()) {
    return absl::FailedPreconditionError(absl::StrCat("the order is of manifest ", order.manifest.Hex(),
                                                      ", but the source has manifest ", manifest.digest().Hex()));
  }
  if (order.num_occurrences != manifest.num_occurrences()) {
    return absl::FailedPreconditionError(absl::StrCat("the order is of ", order.num_occurrences,
                                                      " occurrences, but its manifest ", manifest.digest().Hex(), " has ",
                                                      manifest.num_occurrences()));
  }
  if (description.set.token_policy == TokenPolicy::kVisible && order.mask != description.set.mask) {
    return absl::FailedPreconditionError(
        absl::StrCat("the order's masks are ", order.mask.ToCanonical().dump(), ", but the set stores the tokens of ",
                     description.set.mask.ToCanonical().dump(), "; copy the set's mask spec into the order"));
  }
  return absl::OkStatus();
}

absl::Status CheckSlice(const RankSlice& slice, uint64_t global_batch) {
  if (global_batch == 0 || global_batch > kMaxGlobalBatch) {
    return absl::InvalidArgumentError(
        absl::StrCat("the global batch is ", global_batch, ", must be in 1..", kMaxGlobalBatch));
  }
  if (slice.num_ranks == 0 || slice.rank >= slice.num_ranks) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", slice.rank, " of ", slice.num_ranks,
                                                   " ranks: the rank must be below the number of ranks"));
  }
  if (slice.num_ranks > global_batch) {
    return absl::InvalidArgumentError(absl::StrCat(slice.num_ranks, " ranks cannot share a global batch of ", global_batch,
                                                   ": at most one rank per sample"));
  }
  return absl::OkStatus();
}

absl::Status CheckPositions(const EpochRequest& request, uint64_t num_steps) {
  const RankSlice whole;
  if (request.step_begin != 0 || request.step_end != 0) {
    return absl::InvalidArgumentError("explicit positions and a range of steps: give one of the two");
  }
  if (request.slice.rank != whole.rank || request.slice.num_ranks != whole.num_ranks) {
    return absl::InvalidArgumentError("explicit positions and the slice of a rank: give one of the two");
  }
  const uint64_t limit = num_steps * request.global_batch;
  uint64_t previous_end = 0;
  for (const PositionRange& range : request.positions) {
    const std::string text = absl::StrCat("positions ", range.begin, "..", range.end);
    if (range.begin >= range.end) {
      return absl::InvalidArgumentError(absl::StrCat(text, ": the end must be above the begin"));
    }
    if (range.begin < previous_end) {
      return absl::InvalidArgumentError(
          absl::StrCat(text, " come after position ", previous_end - 1, ": they must ascend, none twice"));
    }
    if (range.end > limit) {
      return absl::InvalidArgumentError(
          absl::StrCat(text, " are out of range: the epoch has ", limit, " positions"));
    }
    previous_end = range.end;
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t LargestFrameBytes(const SetDescription& description, const Selection& selection) {
  const TeacherGeometry& geometry = description.feature.geometry;
  const SetSpec& set = description.set;
  // Header, table entries and alignment of the sections (generous), token and mask lists.
  const uint64_t overhead_bytes =
      1024 + 256 * set.levels.size() + uint64_t{2} * geometry.num_tokens() * (1 + set.mask.num_masks);
  uint64_t rows = geometry.num_tokens();
  if (set.token_policy == TokenPolicy::kVisible) {
    rows = std::min<uint64_t>(rows, 1 + uint64_t{set.mask.num_visible} * set.mask.num_masks);
    if (selection.tokens == Selection::Tokens::kMask) rows = 1 + uint64_t{set.mask.num_visible};
  }
  // Of a codec with exceptions a plane may be f16 instead, and f16 is what travels of coded planes for a mask.
  uint64_t value_bytes = set.codec == Codec::kF32 ? 4 : 2;
  if (selection.encoding == Selection::Encoding::kF32) value_bytes = 4;
  if (selection.encoding != Selection::Encoding::kF32 && selection.encoding != Selection::Encoding::kStored) {
    value_bytes = 2;  // of all the others, too: a plane may fall back to f16
  }
  uint64_t num_levels = selection.levels.empty() ? set.levels.size() : selection.levels.size();
  if (selection.no_levels) num_levels = 0;
  // Per row: the values, and mean and inverse deviation.
  uint64_t level_bytes = rows * (geometry.width * value_bytes + 4 + 4);
  const bool as_stored = selection.encoding == Selection::Encoding::kStored;
  if (NeedsProfile(as_stored ? set.codec : CodecOf(selection.encoding))) {
    // All exceptions that a plane may have can lie in the rows of one mask.
    const uint64_t num_exceptions = uint64_t{geometry.num_tokens()} * geometry.width / kValuesPerException;
    level_bytes += sizeof(PlaneException) * std::min(num_exceptions, rows * geometry.width);
  }
  const uint64_t importance_bytes = uint64_t{4} * geometry.num_patches();
  const uint64_t patch_side = geometry.grid == 0 ? 0 : description.feature.view.size / geometry.grid;
  const uint64_t pixel_bytes = set.pixels && selection.pixels ? (rows - 1) * patch_side * patch_side * 3 : 0;
  const uint64_t block_bytes = overhead_bytes + importance_bytes + num_levels * level_bytes + pixel_bytes;
  return block_bytes + kFrameOverheadBytes;
}

absl::StatusOr<EpochRequest> ValidateEpochRequest(const EpochRequest& request, const SetDescription& description,
                                                  const Manifest& manifest) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckOrder(request.order, description, manifest));
  AFTERIMAGE_RETURN_IF_ERROR(CheckSlice(request.slice, request.global_batch));
  AFTERIMAGE_RETURN_IF_ERROR(ValidateSelection(description, request.selection));
  const uint32_t num_patches = description.feature.geometry.num_patches();
  if (request.selection.tokens == Selection::Tokens::kMask && request.order.mask.num_visible > num_patches) {
    return absl::InvalidArgumentError(absl::StrCat("the order's mask keeps ", request.order.mask.num_visible,
                                                   " patches, but a view has ", num_patches));
  }
  if (request.selection.tokens == Selection::Tokens::kMask && description.set.token_policy == TokenPolicy::kAll) {
    AFTERIMAGE_RETURN_IF_ERROR(CheckMaskSource(description, request.order.mask));
  }
  if (request.epoch > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("epoch ", request.epoch, " is out of range, the limit is ",
                                                   std::numeric_limits<uint32_t>::max()));
  }

  const uint64_t num_steps = StepsPerEpoch(request.order, request.global_batch);
  if (num_steps == 0) {
    return absl::InvalidArgumentError(absl::StrCat("a global batch of ", request.global_batch, " is more than the ",
                                                   request.order.num_occurrences,
                                                   " occurrences, and tail drop leaves no step; use a smaller batch or tail pad"));
  }
  EpochRequest checked = request;
  if (!request.positions.empty()) {
    AFTERIMAGE_RETURN_IF_ERROR(CheckPositions(request, num_steps));
  } else {
    if (checked.step_end == 0) checked.step_end = num_steps;
    if (checked.step_end > num_steps || checked.step_begin > checked.step_end) {
      return absl::InvalidArgumentError(absl::StrCat("steps ", request.step_begin, "..", checked.step_end,
                                                     " are out of range: the epoch has ", num_steps,
                                                     " steps"));
    }
  }

  const uint64_t largest = LargestFrameBytes(description, request.selection);
  if (request.credit_bytes < largest) {
    return absl::InvalidArgumentError(absl::StrCat("a credit of ", request.credit_bytes,
                                                   " bytes is below the largest frame, ", largest, " bytes"));
  }
  return checked;
}

EpochFrame FrameAt(const EpochRequest& checked, const SetDescription& description, const Manifest& manifest,
                   uint64_t position) {
  const uint32_t num_masks = description.set.token_policy == TokenPolicy::kVisible ? description.set.mask.num_masks : 0;
  EpochFrame frame;
  frame.position = position;
  frame.step = position / checked.global_batch;
  const OrderEntry entry = EntryAt(checked.order, num_masks, checked.epoch, frame.position);
  frame.occurrence = entry.occurrence;
  frame.key = {manifest.keys()[manifest.KeyIndexOfOccurrence(entry.occurrence)], entry.view_seed};
  frame.mask_index = entry.mask_index;
  frame.padding = entry.padding;
  return frame;
}

void FillFrame(RecordResult result, EpochFrame& frame) {
  frame.state = result.state;
  frame.reason = std::move(result.reason);
  if (result.state != RecordState::kOk) return;
  absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(result.block.bytes);
  if (!block.ok()) {
    frame.state = RecordState::kDamaged;
    frame.reason = absl::StrCat("record ", frame.key.ToString(), ": ", block.status().message());
    return;
  }
  frame.record_digest = block->record_digest();
  frame.block = std::move(result.block);
}

}  // namespace afterimage
