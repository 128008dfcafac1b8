#include "client/cli/read_positions.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/feature/feature_block.h"

namespace afterimage::cli {

absl::StatusOr<PositionRange> ParsePositions(const std::string& text) {
  const std::vector<std::string> ends = absl::StrSplit(text, '-');
  uint64_t first = 0, last = 0;
  if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last) ||
      last < first || last == UINT64_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("--positions ", text, ": expected A-B, both of them included, or one position"));
  }
  return PositionRange{first, last + 1};
}

absl::Status ReadPositions(EpochSource& source, const EpochRequest& request, bool verify,
                           const std::function<void(const EpochFrame&)>& use) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<EpochStream> stream, source.Open(request));
  while (true) {
    if (StopRequested()) return absl::CancelledError("stopped");
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<EpochFrame> frame, stream->Next());
    if (!frame.has_value()) return absl::OkStatus();
    if (verify && frame->state == RecordState::kOk) AFTERIMAGE_RETURN_IF_ERROR(VerifyBlock(*frame));
    use(*frame);
    stream->ReturnCredit(frame->CostBytes());
  }
}

absl::Status VerifyBlock(const EpochFrame& frame) {
  absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(frame.block.bytes);
  return WithContext(block.ok() ? block->VerifyAll() : block.status(),
                     absl::StrCat("record ", frame.key.ToString()));
}

std::string FrameText(const EpochFrame& frame) {
  return absl::StrFormat("position %d, step %d: record %s, mask %d, %s%s", frame.position, frame.step,
                         frame.key.ToString(), frame.mask_index, RecordStateName(frame.state),
                         frame.state == RecordState::kOk
                             ? absl::StrCat(", ", frame.block.bytes.size(), " bytes")
                         : frame.reason.empty() ? ""
                                                : absl::StrCat(": ", frame.reason));
}

Json FrameJson(const EpochFrame& frame) {
  Json json = {{"position", frame.position},     {"step", frame.step},
               {"image", frame.key.image.Hex()}, {"view_seed", frame.key.view_seed},
               {"mask_index", frame.mask_index}, {"state", RecordStateName(frame.state)}};
  if (frame.state == RecordState::kOk) {
    json["bytes"] = frame.block.bytes.size();
    json["record_digest"] = frame.record_digest.Hex();
  }
  if (!frame.reason.empty()) json["reason"] = frame.reason;
  return json;
}

}  // namespace afterimage::cli
