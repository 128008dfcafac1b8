#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "core/base/copy_past_caches.h"
#include "core/base/status_macros.h"
#include "core/feature/ezq.h"
#include "core/feature/feature_block.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/feature_block_values.h"
#include "core/feature/half_rows.h"
#include "core/feature/lossless16.h"
#include "core/feature/packed_pixels.h"
#include "core/feature/plane_reader.h"

// Reading out of blocks whose header and section table feature_block.cc has accepted.
namespace afterimage {
namespace {

using block::Code;
using block::Damaged;
using block::ElementType;
using block::SectionKind;

}  // namespace

absl::StatusOr<ByteSpan> FeatureBlock::Verified(const Section& section) const {
  const ByteSpan bytes = bytes_.subspan(section.offset, section.length);
  if (!is_verified_ && Xxh3_64(bytes) != section.checksum) {
    return Damaged("the checksum of the section of kind ", section.kind, ", level ", section.level,
                   " does not fit");
  }
  return bytes;
}

const FeatureBlock::Section* FeatureBlock::FindLevel(uint16_t kind, uint32_t level) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(), [&](const Section& section) {
    return section.kind == kind && section.level == level;
  });
  return found == sections_.end() ? nullptr : &*found;
}

absl::Status FeatureBlock::VerifyAll() const {
  for (const Section& section : sections_) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(section));
    if (section.kind != Code(SectionKind::kExceptions)) continue;
    AFTERIMAGE_RETURN_IF_ERROR(block::PlaneReader::CheckExceptions(bytes, uint64_t{num_tokens_} * width_));
  }
  if (is_failure_) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> tokens, Tokens());
  std::vector<bool> stored(size_t{grid_} * grid_ + 1, false);
  for (const uint16_t token : tokens) stored[token] = true;
  for (uint32_t i = 0; i < num_masks_; ++i) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> mask, Mask(i));
    for (const uint16_t patch : mask) {
      if (!stored[size_t{patch} + 1]) return Damaged("patch ", patch, " of mask ", i, " is not stored");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FeatureBlock::failure_reason() const {
  const Section* const section = FindLevel(Code(SectionKind::kReason), 0);
  if (section == nullptr) return absl::FailedPreconditionError("feature block: a record, not a failure");
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(*section));
  return std::string(bytes.begin(), bytes.end());
}

absl::StatusOr<std::vector<float>> FeatureBlock::Importance() const {
  const Section* const section = FindLevel(Code(SectionKind::kImportance), 0);
  if (section == nullptr) return absl::FailedPreconditionError("feature block: a failure has no importance");
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(*section));
  std::vector<float> importance(section->columns);
  std::memcpy(importance.data(), bytes.data(), bytes.size());
  return importance;
}

absl::StatusOr<std::vector<uint16_t>> FeatureBlock::Tokens() const {
  std::vector<uint16_t> tokens(num_tokens_);
  const Section* const section = FindLevel(Code(SectionKind::kTokens), 0);
  if (section == nullptr) {
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(*section));
  std::memcpy(tokens.data(), bytes.data(), bytes.size());
  std::vector<bool> seen(size_t{grid_} * grid_ + 1, false);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool in_order = i == 0 ? tokens[i] == 0 : is_mask_order_ || tokens[i] > tokens[i - 1];
    if (!in_order || tokens[i] >= seen.size() || seen[tokens[i]])
      return Damaged("token ", i, " is ", tokens[i]);
    seen[tokens[i]] = true;
  }
  return tokens;
}

absl::StatusOr<std::vector<uint16_t>> FeatureBlock::Mask(uint32_t index) const {
  const Section* const section = FindLevel(Code(SectionKind::kMasks), 0);
  if (section == nullptr || index >= num_masks_) {
    return absl::InvalidArgumentError(
        absl::StrCat("mask ", index, " of a record that stores ", num_masks_, " masks"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(*section));
  std::vector<uint16_t> mask(section->columns);
  const size_t row_bytes = mask.size() * sizeof(uint16_t);
  std::memcpy(mask.data(), bytes.data() + index * row_bytes, row_bytes);
  std::vector<bool> seen(size_t{grid_} * grid_, false);
  for (const uint16_t patch : mask) {
    if (patch >= seen.size() || seen[patch]) return Damaged("mask ", index, " holds patch ", patch);
    seen[patch] = true;
  }
  return mask;
}

uint32_t FeatureBlock::num_fallback_planes() const {
  if (!NeedsProfile(codec_)) return 0;
  return static_cast<uint32_t>(std::ranges::count_if(sections_, [](const Section& section) {
    return section.kind == Code(SectionKind::kPlane) &&
           section.type == static_cast<uint8_t>(ElementType::kF16);
  }));
}

uint64_t FeatureBlock::LevelBytes(uint32_t level) const {
  uint64_t bytes = 0;
  for (const SectionKind kind : {SectionKind::kPlane, SectionKind::kExceptions}) {
    if (const Section* const section = FindLevel(Code(kind), level); section != nullptr)
      bytes += section->length;
  }
  return bytes;
}

bool FeatureBlock::has_packed_pixels() const {
  return pixels_.has_value() && pixels_->type == static_cast<uint8_t>(ElementType::kPackedPixels);
}

uint64_t FeatureBlock::PixelRowBytes() const {
  const uint64_t patch_size = view_size_ / std::max(grid_, 1u);
  return 3 * patch_size * patch_size;
}

absl::StatusOr<const LevelCodes*> FeatureBlock::CodesOf(uint32_t level) const {
  const auto refuse = [&](const auto&... why) {
    return absl::FailedPreconditionError(absl::StrCat(
        "feature block: level ", level, " is coded with profile ", profile_digest_.Hex(), ", ", why...));
  };
  if (profile_ == nullptr) return refuse("and no profile was given");
  if (profile_->digest() != profile_digest_) return refuse("the profile given is ", profile_->digest().Hex());
  const LevelCodes* const codes = profile_->FindCodes(level);
  if (codes == nullptr || profile_->width() != width_)
    return refuse("which has no such level of width ", width_);
  return codes;
}

absl::StatusOr<block::PlaneReader> FeatureBlock::OpenPlane(uint32_t level, bool decodes) const {
  const Section* const section = FindLevel(Code(SectionKind::kPlane), level);
  if (section == nullptr) return absl::NotFoundError(absl::StrCat("level ", level, " is not in the block"));
  const ElementType type = static_cast<ElementType>(section->type);
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(*section));
  if (type == ElementType::kEzq) return OpenEzqPlane(level, bytes, decodes);
  if (const ElementType row_type = block::RowType(type); row_type != type) {
    if (!decodes) return block::PlaneReader(type, width_, 0, bytes);
    const size_t row_bytes = width_ * block::ElementBytes(row_type);
    const size_t size = num_tokens_ * row_bytes;  // PlaneFits bounds it
    std::shared_ptr<uint8_t[]> plane(new uint8_t[size]);
    AFTERIMAGE_RETURN_IF_ERROR(DecodeLossless16(bytes, {plane.get(), size}));
    return block::PlaneReader(row_type, width_, row_bytes, {plane.get(), size}, {}, {}, plane);
  }
  const size_t row_bytes = section->columns * block::ElementBytes(type);
  if (!block::HasExceptions(type)) return block::PlaneReader(type, width_, row_bytes, bytes);
  block::PlaneScales scales;
  if (decodes) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const LevelCodes* const codes, CodesOf(level));
    scales = {&codes->i8x, &codes->packed};  // row_bytes fits them: PlaneFits
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan exceptions, ExceptionsOf(level));
  return block::PlaneReader(type, width_, row_bytes, bytes, exceptions, scales);
}

absl::StatusOr<ByteSpan> FeatureBlock::ExceptionsOf(uint32_t level) const {
  const Section* const section = FindLevel(Code(SectionKind::kExceptions), level);
  if (section == nullptr) return ByteSpan();
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan exceptions, Verified(*section));
  AFTERIMAGE_RETURN_IF_ERROR(block::PlaneReader::CheckExceptions(exceptions, uint64_t{num_tokens_} * width_));
  return exceptions;
}

absl::StatusOr<block::PlaneReader> FeatureBlock::OpenEzqPlane(uint32_t level, ByteSpan bytes,
                                                              bool decodes) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan exceptions, ExceptionsOf(level));
  if (!decodes) return block::PlaneReader(ElementType::kEzq, width_, 0, bytes, exceptions);
  AFTERIMAGE_ASSIGN_OR_RETURN(const LevelCodes* const codes, CodesOf(level));
  const size_t count = size_t{num_tokens_} * width_;  // bounded by kMaxEzqValues
  std::shared_ptr<uint8_t[]> plane(new uint8_t[count]);
  const uint32_t grid = num_tokens_ == grid_ * grid_ + 1 && !is_mask_order_ ? grid_ : 0;
  AFTERIMAGE_RETURN_IF_ERROR(DecodeEzq(width_, grid, bytes, {plane.get(), count}));
  return block::PlaneReader(ElementType::kI8, width_, width_, {plane.get(), count}, exceptions,
                            {&codes->ezq.Of(codec_), nullptr}, plane);
}

// Calls `read(plane, row, i)` for the i-th of the rows that are asked for.
template <typename Read>
absl::Status FeatureBlock::ReadRows(uint32_t level, std::span<const uint16_t> rows, size_t room,
                                    Read read) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const block::PlaneReader plane, OpenPlane(level, /*decodes=*/true));
  const size_t num_rows = rows.empty() ? num_tokens_ : rows.size();
  if (room != num_rows * width_) {
    return absl::InvalidArgumentError(
        absl::StrCat("room for ", room, " values, ", num_rows, " rows of ", width_, " are asked for"));
  }
  for (size_t i = 0; i < num_rows; ++i) {
    const size_t row = rows.empty() ? i : rows[i];
    if (row >= num_tokens_) {
      return absl::InvalidArgumentError(absl::StrCat("row ", row, " of a plane of ", num_tokens_, " rows"));
    }
    AFTERIMAGE_RETURN_IF_ERROR(read(plane, row, i));
  }
  return absl::OkStatus();
}

absl::Status FeatureBlock::ReadLevel(uint32_t level, std::span<const uint16_t> rows,
                                     std::span<float> target) const {
  return ReadRows(level, rows, target.size(), [&](const block::PlaneReader& plane, size_t row, size_t i) {
    plane.ReadRow(row, target.subspan(i * width_, width_));
    return absl::OkStatus();
  });
}

absl::Status FeatureBlock::ReadLevelAs(Codec format, uint32_t level, std::span<const uint16_t> rows,
                                       std::span<uint8_t> target) const {
  const ElementType type = block::PlaneType(format);
  if (!block::IsFloat(type)) {
    return absl::InvalidArgumentError(absl::StrCat("values cannot be read as ", CodecName(format)));
  }
  const size_t element_bytes = block::ElementBytes(type), row_bytes = width_ * element_bytes;
  const Section* const section = FindLevel(Code(SectionKind::kPlane), level);
  const bool is_whole = section != nullptr && rows.empty() && target.size() == num_tokens_ * row_bytes;
  if (is_whole && block::RowType(static_cast<ElementType>(section->type)) == type) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(*section));
    if (section->type != static_cast<uint8_t>(type))
      return DecodeLossless16(bytes, target);  // the only coded planes of floats
    CopyPastCaches(target.data(), bytes.data(), bytes.size());
    return absl::OkStatus();
  }
  std::vector<float> scratch(width_);
  const auto read_row = [&](const block::PlaneReader& plane, size_t row, size_t i) -> absl::Status {
    const size_t bad = plane.ReadRowAs(type, row, scratch, target.data() + i * row_bytes);
    if (bad == width_) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("level ", level, ", row ", row, ", channel ", bad, ": ",
                                                      scratch[bad], " is beyond the range of ",
                                                      CodecName(format)));
  };
  absl::Status status = ReadRows(level, rows, target.size() / element_bytes, read_row);
  FinishHalfRows();
  return status;
}

absl::Status FeatureBlock::ReadLevelStatistics(uint32_t level, std::span<const uint16_t> rows,
                                               std::span<float> mean,
                                               std::span<float> inverse_deviation) const {
  const Section* const section = FindLevel(Code(SectionKind::kStatistics), level);
  if (section == nullptr) return absl::NotFoundError(absl::StrCat("level ", level, " is not in the block"));
  const size_t num_rows = rows.empty() ? num_tokens_ : rows.size();
  if (mean.size() != num_rows || inverse_deviation.size() != num_rows) {
    return absl::InvalidArgumentError(absl::StrCat("statistics of ", num_rows, " rows are asked for"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(*section));
  const uint8_t* const means = bytes.data();
  const uint8_t* const inverse_deviations = means + num_tokens_ * sizeof(float);
  if (rows.empty()) {
    std::memcpy(mean.data(), means, mean.size_bytes());
    std::memcpy(inverse_deviation.data(), inverse_deviations, mean.size_bytes());
    return absl::OkStatus();
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] >= num_tokens_) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", rows[i], " of the statistics of ", num_tokens_, " rows"));
    }
    std::memcpy(&mean[i], means + rows[i] * sizeof(float), sizeof(float));
    std::memcpy(&inverse_deviation[i], inverse_deviations + rows[i] * sizeof(float), sizeof(float));
  }
  return absl::OkStatus();
}

absl::Status FeatureBlock::ReadPixels(std::span<const uint16_t> rows, std::span<uint8_t> target) const {
  if (!pixels_.has_value()) return absl::NotFoundError("pixels are not in the block");
  const size_t num_stored = num_tokens_ - size_t{1};
  const size_t num_rows = rows.empty() ? num_stored : rows.size();
  if (target.size() != num_rows * PixelRowBytes()) {
    return absl::InvalidArgumentError(absl::StrCat("room for ", target.size(), " bytes, ", num_rows,
                                                   " rows of ", PixelRowBytes(), " are asked for"));
  }
  for (const uint16_t row : rows) {
    if (row < num_stored) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("patch row ", row, " of ", num_stored, " that are stored"));
  }
  return CopyPixelRows(rows, target.data());
}

absl::Status FeatureBlock::CopyPixelRows(std::span<const uint16_t> rows, uint8_t* target) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, Verified(*pixels_));
  if (has_packed_pixels()) {
    const auto packed = PackedPixels::Open(bytes, num_tokens_ - 1, view_size_ / grid_);
    AFTERIMAGE_RETURN_IF_ERROR(packed.status());
    return packed->Read(rows, target);  // where it is: its tables are not copied
  }
  if (rows.empty()) std::copy(bytes.begin(), bytes.end(), target);
  const size_t row_bytes = PixelRowBytes();
  for (const uint16_t row : rows) target = std::copy_n(bytes.begin() + row * row_bytes, row_bytes, target);
  return absl::OkStatus();
}

absl::StatusOr<FeatureRecord> FeatureBlock::ToRecord() const {
  if (is_failure_) return absl::FailedPreconditionError("feature block: a failure, not a record");
  AFTERIMAGE_RETURN_IF_ERROR(VerifyAll());
  FeatureRecord record;
  record.geometry = geometry_;
  record.view_digest = view_digest_;
  record.view_size = view_size_;
  record.grid = grid_;
  AFTERIMAGE_ASSIGN_OR_RETURN(record.importance, Importance());
  AFTERIMAGE_ASSIGN_OR_RETURN(record.tokens, Tokens());
  for (uint32_t i = 0; i < num_masks_; ++i) {
    AFTERIMAGE_ASSIGN_OR_RETURN(record.masks.emplace_back(), Mask(i));
  }
  for (const uint32_t level : levels_) {
    LevelFeatures& features = record.levels.emplace_back();
    features.level = level;
    features.width = width_;
    features.values.resize(size_t{num_tokens_} * width_);
    features.mean.resize(num_tokens_);
    features.inverse_deviation.resize(num_tokens_);
    AFTERIMAGE_RETURN_IF_ERROR(ReadLevel(level, {}, features.values));
    AFTERIMAGE_RETURN_IF_ERROR(ReadLevelStatistics(level, {}, features.mean, features.inverse_deviation));
  }
  if (pixels_.has_value()) {
    record.pixels.resize((num_tokens_ - size_t{1}) * PixelRowBytes());  // bounded by PixelsFit
    AFTERIMAGE_RETURN_IF_ERROR(ReadPixels({}, record.pixels));
  }
  return record;
}

}  // namespace afterimage
