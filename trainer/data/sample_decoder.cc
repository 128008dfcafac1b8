#include "trainer/data/sample_decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

// The rows of a plane of all tokens that belong to the class token and these patches.
std::vector<uint16_t> RowsOfPatches(std::span<const uint16_t> patches) {
  std::vector<uint16_t> rows = {0};
  for (const uint16_t patch : patches) rows.push_back(static_cast<uint16_t>(patch + 1));
  return rows;
}

// Row `index` of a tensor [G, ...] as memory.
template <typename T>
std::span<T> RowOf(const at::Tensor& tensor, int64_t index) {
  const int64_t length = tensor.numel() / tensor.size(0);
  return {tensor.data_ptr<T>() + index * length, static_cast<size_t>(length)};
}

}  // namespace

absl::Status SampleDecoder::Decode(std::span<const EpochFrame> frames, TrainingBatch& batch) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block,
                              FeatureBlock::Parse(frames.front().block, sets_.front().profile));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> patches, block.Mask(0));
  const int64_t num_visible = batch.visible.size(1);
  const int64_t width = shape_.teachers.front().width;
  if (static_cast<int64_t>(patches.size()) != num_visible || block.num_tokens() != patches.size() + 1 ||
      block.width() != width) {
    return absl::InternalError(absl::StrCat("the record came with ", block.num_tokens(), " tokens of width ",
                                            block.width(), " and ", patches.size(), " visible patches, not ",
                                            num_visible + 1, " of width ", width, " and ", num_visible));
  }
  // A selected block has the class token first and then the patches in drawn order: whole planes are what
  // we want.
  std::ranges::copy(patches, RowOf<int64_t>(batch.visible, batch.size).begin());
  const std::span<uint8_t> pixels = RowOf<uint8_t>(batch.pixels, batch.size);
  if (pixels_) {
    AFTERIMAGE_RETURN_IF_ERROR(pixels_(frames.front().key, block, patches, pixels));
  } else {
    AFTERIMAGE_RETURN_IF_ERROR(block.ReadPixels({}, pixels));
  }
  AFTERIMAGE_RETURN_IF_ERROR(DecodeTargets(0, block, {}, batch));

  for (size_t i = 1; i < frames.size(); ++i) {
    const Set& set = sets_[i];
    AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock further,
                                FeatureBlock::Parse(frames[i].block, set.profile));
    if (further.view_digest() != block.view_digest()) {
      return absl::FailedPreconditionError(
          absl::StrCat("set ", set.set_id.Hex(), " saw another view: digest ",
                       absl::Hex(further.view_digest()), ", the first set ", absl::Hex(block.view_digest())));
    }
    if (!set.draws_same_mask) {
      AFTERIMAGE_RETURN_IF_ERROR(DecodeTargets(i, further, RowsOfPatches(patches), batch));
      continue;
    }
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> stored, further.Mask(0));
    if (stored != patches) {
      return absl::FailedPreconditionError(
          absl::StrCat("set ", set.set_id.Hex(), " has other masks than the first set"));
    }
    AFTERIMAGE_RETURN_IF_ERROR(DecodeTargets(i, further, {}, batch));
  }
  return absl::OkStatus();
}

absl::Status SampleDecoder::DecodeTargets(size_t teacher, const FeatureBlock& block,
                                          std::span<const uint16_t> rows, TrainingBatch& batch) const {
  const std::vector<TargetShape>& teachers = shape_.teachers;
  size_t target = 0;  // the first one of this teacher
  for (size_t i = 0; i < teacher; ++i) target += teachers[i].levels.size();
  for (const uint32_t level : teachers[teacher].levels) {
    if (shape_.coded) {
      AFTERIMAGE_RETURN_IF_ERROR(
          batch.coded[target].rows.Put(static_cast<size_t>(batch.size), block, level, rows));
    } else {
      AFTERIMAGE_RETURN_IF_ERROR(
          block.ReadLevel(level, rows, RowOf<float>(batch.targets[target], batch.size)));
    }
    if (shape_.with_statistics) {
      AFTERIMAGE_RETURN_IF_ERROR(
          block.ReadLevelStatistics(level, rows, RowOf<float>(batch.mean[target], batch.size),
                                    RowOf<float>(batch.inverse_deviation[target], batch.size)));
    }
    ++target;
  }
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
