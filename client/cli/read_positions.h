// The records at some positions of an epoch, one by one.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/identity/canonical_spec.h"
#include "core/order/epoch_source.h"

namespace afterimage::cli {

// "A-B", both inclusive, or "A". InvalidArgument: it is neither, or A is above B.
absl::StatusOr<PositionRange> ParsePositions(const std::string& text);

// Reads what `request` names by explicit positions; `use` gets each frame. With `verify` DataLoss: a block
// whose bytes fail, its key in the text. Errors of EpochSource; Cancelled: a stop was requested.
absl::Status ReadPositions(EpochSource& source, const EpochRequest& request, bool verify,
                           const std::function<void(const EpochFrame&)>& use);

// Every checksum of the frame's block. DataLoss, the key in the text.
absl::Status VerifyBlock(const EpochFrame& frame);

// One line for people, and an object: position, step, image, view_seed, mask_index, state, bytes,
// record_digest, and why there is no record.
std::string FrameText(const EpochFrame& frame);
Json FrameJson(const EpochFrame& frame);

}  // namespace afterimage::cli
