#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/feature/coded_plane.h"
#include "core/feature/feature_block.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/feature_block_values.h"
#include "core/feature/plane_reader.h"

namespace afterimage {

using block::ElementType;
using block::SectionKind;

// Cuts a part out of one block.
class BlockSelector {
 public:
  BlockSelector(const FeatureBlock& block, const Selection& selection)
      : block_(block), selection_(selection) {}

  // Levels, pixels and encoding of the part, checked against the block.
  absl::Status Resolve();
  // True when nothing is left out or changed.
  bool IsWhole() const {
    return selection_.tokens == Selection::Tokens::kStored && levels_ == block_.levels_ &&
           pixels_ == block_.pixels_.has_value() && codec_ == block_.codec_;
  }
  // Rows of the block's planes that hold the class token and the patches of `mask`.
  absl::Status ResolveMask(std::span<const uint16_t> mask);
  absl::StatusOr<std::string> Cut();

 private:
  using Section = FeatureBlock::Section;

  const Section* Find(SectionKind kind, uint32_t level = 0) const {
    return block_.FindLevel(static_cast<uint16_t>(kind), level);
  }
  bool of_mask() const { return selection_.tokens == Selection::Tokens::kMask; }
  uint32_t num_rows() const { return of_mask() ? static_cast<uint32_t>(rows_.size()) : block_.num_tokens_; }

  // A plane of the part: where it is read, and what it becomes.
  struct Plane {
    uint32_t level = 0;
    block::PlaneReader reader;
    ElementType type = ElementType::kF32;
    std::vector<PlaneException> exceptions;  // of its rows
    std::vector<uint8_t> encoded;            // its rows, where they were coded anew with a profile
  };

  // Of a plane that has rows.
  size_t RowBytes(const Plane& plane) const {
    if (!plane.encoded.empty()) return plane.encoded.size() / num_rows();
    if (plane.type == plane.reader.type()) return plane.reader.row_bytes();
    return block_.width_ * block::ElementBytes(plane.type);  // decoded to floats
  }
  size_t SourceRow(size_t row) const { return of_mask() ? rows_[row] : row; }
  absl::Status OpenPlanes();
  // Codes the rows of `plane` for codec_, which needs a profile.
  absl::Status EncodePlane(Plane& plane) const;
  // Copies a section's rows; in every copy the checksum is verified first.
  absl::Status CopyWhole(const Section& section, uint8_t* target) const;
  absl::Status CopyPlane(const Plane& plane, uint8_t* target) const;
  absl::Status CopyStatistics(uint32_t level, uint8_t* target) const;
  absl::Status CopyPixels(uint8_t* target) const;

  const FeatureBlock& block_;
  const Selection& selection_;
  std::vector<uint32_t> levels_;
  bool pixels_ = false;
  Codec codec_ = Codec::kF32;
  std::vector<Plane> planes_;
  std::vector<uint16_t> tokens_;  // kMask: class token, then the mask's patches in drawn order
  std::vector<uint16_t> rows_;    // kMask: where they lie in the block's planes
};

absl::Status BlockSelector::Resolve() {
  if (!selection_.no_levels) levels_ = selection_.levels.empty() ? block_.levels_ : selection_.levels;
  if (std::adjacent_find(levels_.begin(), levels_.end(), std::greater_equal<>()) != levels_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("levels ", absl::StrJoin(levels_, ","), " are not ascending"));
  }
  for (const uint32_t level : levels_) {
    if (Find(SectionKind::kPlane, level) == nullptr) {
      return absl::NotFoundError(
          absl::StrCat("level ", level, " is not stored; stored are ", absl::StrJoin(block_.levels_, ", ")));
    }
  }
  pixels_ = selection_.pixels && block_.pixels_.has_value();
  if (selection_.pixels && !pixels_ && !selection_.IsWhole()) {
    return absl::FailedPreconditionError("pixels are not stored; ask without them");
  }
  switch (selection_.encoding) {
    case Selection::Encoding::kStored:
      codec_ = of_mask() ? RowCodec(block_.codec_) : block_.codec_;
      break;
    default:
      codec_ = CodecOf(selection_.encoding);
      break;
  }
  if (codec_ == block_.codec_ || !NeedsProfile(codec_) || block_.profile_ != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("encoding ", CodecName(codec_), " needs a profile, and none was given"));
}

absl::Status BlockSelector::ResolveMask(std::span<const uint16_t> mask) {
  const uint32_t num_patches = block_.grid_ * block_.grid_;
  if (mask.empty()) return absl::InvalidArgumentError("the mask is empty");
  constexpr uint16_t kNotStored = 0xffff;  // no row number: there are at most 65026 tokens
  std::vector<uint16_t> row_of_token(num_patches + 1, kNotStored);
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> stored, block_.Tokens());
  for (size_t row = 0; row < stored.size(); ++row) row_of_token[stored[row]] = static_cast<uint16_t>(row);
  tokens_ = {0};
  rows_ = {0};
  std::vector<bool> seen(num_patches, false);
  for (const uint16_t patch : mask) {
    if (patch >= num_patches || seen[patch]) {
      return absl::InvalidArgumentError(
          absl::StrCat("patch ", patch, " of the mask comes twice or is not one of ", num_patches));
    }
    seen[patch] = true;
    const uint16_t token = static_cast<uint16_t>(patch + 1);
    if (row_of_token[token] == kNotStored) {
      return absl::FailedPreconditionError(absl::StrCat("patch ", patch, " of the mask is not stored"));
    }
    tokens_.push_back(token);
    rows_.push_back(row_of_token[token]);
  }
  return absl::OkStatus();
}

absl::Status BlockSelector::OpenPlanes() {
  const bool as_stored = codec_ == block_.codec_;
  for (const uint32_t level : levels_) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const block::PlaneReader reader,
                                block_.OpenPlane(level, /*decodes=*/!as_stored));
    Plane& plane = planes_.emplace_back(Plane{level, reader, reader.type(), {}});
    if (!as_stored) plane.type = block::PlaneType(codec_);
    if (!as_stored && NeedsProfile(codec_)) {
      AFTERIMAGE_RETURN_IF_ERROR(EncodePlane(plane));
      continue;
    }
    if (!block::HasExceptions(plane.type)) continue;
    for (size_t row = 0; row < num_rows(); ++row)
      reader.AppendExceptions(SourceRow(row), row, plane.exceptions);
  }
  return absl::OkStatus();
}

absl::Status BlockSelector::EncodePlane(Plane& plane) const {
  const size_t width = block_.width_;
  const LevelCodes* const codes = block_.profile_->FindCodes(plane.level);
  if (codes == nullptr || block_.profile_->width() != width) {
    return absl::FailedPreconditionError(absl::StrCat("encoding ", CodecName(codec_), ": profile ",
                                                      block_.profile_->digest().Hex(), " has no level ",
                                                      plane.level, " of width ", width));
  }
  std::vector<float> values(num_rows() * width);
  for (size_t i = 0; i < num_rows(); ++i)
    plane.reader.ReadRow(SourceRow(i), {values.data() + i * width, width});
  const size_t bad = block::FirstBeyond(values, kLargestFeature);
  if (bad != values.size()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "level ", plane.level, ", row ", SourceRow(bad / width), ", channel ", bad % width, ": ", values[bad],
        " is beyond the range of ", CodecName(codec_), "; ask for the stored encoding"));
  }
  CodedPlane coded = codec_ == Codec::kI8x ? EncodeI8xPlane(codes->i8x, values)
                                           : EncodePackedPlane(codes->packed, PackedBits(codec_), values);
  if (coded.is_f16) plane.type = ElementType::kF16;
  plane.encoded = std::move(coded.bytes);
  plane.exceptions = std::move(coded.exceptions);
  return absl::OkStatus();
}

absl::StatusOr<std::string> BlockSelector::Cut() {
  AFTERIMAGE_RETURN_IF_ERROR(OpenPlanes());
  block::Header header;
  header.flags = static_cast<uint8_t>((block_.geometry_.flipped ? block::kFlipped : 0) | block::kPart |
                                      (of_mask() || block_.is_mask_order_ ? block::kMaskOrder : 0));
  header.codec = static_cast<uint8_t>(codec_);
  header.geometry = block_.geometry_;
  header.view_digest = block_.view_digest_;
  header.view_size = block_.view_size_;
  header.grid = block_.grid_;
  header.num_tokens = num_rows();
  header.num_masks = of_mask() ? 1 : block_.num_masks_;
  header.width = block_.width_;
  if (NeedsProfile(codec_)) {
    header.profile_digest = codec_ == block_.codec_ ? block_.profile_digest_ : block_.profile_->digest();
  }

  const Section* const importance = Find(SectionKind::kImportance);
  const Section* const tokens = Find(SectionKind::kTokens);
  const Section* const masks = Find(SectionKind::kMasks);
  block::Writer writer;
  writer.Declare(SectionKind::kImportance, 0, ElementType::kF32, 1, importance->columns);
  if (of_mask()) {
    writer.Declare(SectionKind::kTokens, 0, ElementType::kU16, 1, num_rows());
    writer.Declare(SectionKind::kMasks, 0, ElementType::kU16, 1, num_rows() - 1);
  } else {
    if (tokens != nullptr) writer.Declare(SectionKind::kTokens, 0, ElementType::kU16, 1, tokens->columns);
    if (masks != nullptr)
      writer.Declare(SectionKind::kMasks, 0, ElementType::kU16, masks->rows, masks->columns);
  }
  for (const Plane& plane : planes_) {
    if (block::RowType(plane.type) != plane.type) {
      writer.Declare(SectionKind::kPlane, plane.level, plane.type, 1,
                     static_cast<uint32_t>(plane.reader.bytes().size()));
    } else {
      writer.Declare(SectionKind::kPlane, plane.level, plane.type, num_rows(),
                     static_cast<uint32_t>(RowBytes(plane) / block::ElementBytes(plane.type)));
    }
  }
  for (const uint32_t level : levels_)
    writer.Declare(SectionKind::kStatistics, level, ElementType::kF32, 2, num_rows());
  if (pixels_)
    writer.Declare(SectionKind::kPixels, 0, ElementType::kU8, num_rows() - 1,
                   static_cast<uint32_t>(block_.PixelRowBytes()));
  for (const Plane& plane : planes_) writer.DeclareExceptions(plane.level, plane.exceptions);
  writer.Allocate();

  size_t section = 0;
  AFTERIMAGE_RETURN_IF_ERROR(CopyWhole(*importance, writer.section(section++)));
  if (of_mask()) {
    std::memcpy(writer.section(section++), tokens_.data(), tokens_.size() * sizeof(uint16_t));
    uint8_t* const mask = writer.section(section++);
    for (size_t i = 1; i < tokens_.size(); ++i) {
      const uint16_t patch = static_cast<uint16_t>(tokens_[i] - 1);
      std::memcpy(mask + (i - 1) * sizeof(patch), &patch, sizeof(patch));
    }
  } else {
    if (tokens != nullptr) AFTERIMAGE_RETURN_IF_ERROR(CopyWhole(*tokens, writer.section(section++)));
    if (masks != nullptr) AFTERIMAGE_RETURN_IF_ERROR(CopyWhole(*masks, writer.section(section++)));
  }
  for (const Plane& plane : planes_) AFTERIMAGE_RETURN_IF_ERROR(CopyPlane(plane, writer.section(section++)));
  for (const uint32_t level : levels_)
    AFTERIMAGE_RETURN_IF_ERROR(CopyStatistics(level, writer.section(section++)));
  if (pixels_) AFTERIMAGE_RETURN_IF_ERROR(CopyPixels(writer.section(section++)));
  return writer.Seal(header, &block_.record_digest_);
}

absl::Status BlockSelector::CopyWhole(const Section& section, uint8_t* target) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, block_.Verified(section));
  std::memcpy(target, bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status BlockSelector::CopyPlane(const Plane& plane, uint8_t* target) const {
  if (!plane.encoded.empty()) {
    std::memcpy(target, plane.encoded.data(), plane.encoded.size());
    return absl::OkStatus();
  }
  if (block::RowType(plane.type) != plane.type) {
    std::memcpy(target, plane.reader.bytes().data(), plane.reader.bytes().size());
    return absl::OkStatus();
  }
  const size_t row_bytes = RowBytes(plane);
  std::vector<float> values(plane.type == plane.reader.type() ? 0 : block_.width_);
  for (size_t i = 0; i < num_rows(); ++i, target += row_bytes) {
    if (values.empty()) {
      std::memcpy(target, plane.reader.RowBytes(SourceRow(i)).data(), row_bytes);
      continue;
    }
    plane.reader.ReadRow(SourceRow(i), values);
    const size_t bad = block::EncodeFloats(plane.type, values, target);
    if (bad == values.size()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("level ", plane.level, ", row ", SourceRow(i), ", channel ", bad, ": ", values[bad],
                     " is beyond the range of ", CodecName(codec_), "; ask for the stored encoding"));
  }
  return absl::OkStatus();
}

absl::Status BlockSelector::CopyStatistics(uint32_t level, uint8_t* target) const {
  const Section& section = *Find(SectionKind::kStatistics, level);
  if (!of_mask()) return CopyWhole(section, target);
  AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan bytes, block_.Verified(section));
  for (uint32_t half = 0; half < 2; ++half) {  // means, then inverse deviations
    for (const uint16_t row : rows_) {
      std::memcpy(target, bytes.data() + (size_t{half} * section.columns + row) * sizeof(float),
                  sizeof(float));
      target += sizeof(float);
    }
  }
  return absl::OkStatus();
}

absl::Status BlockSelector::CopyPixels(uint8_t* target) const {
  std::vector<uint16_t> rows;  // empty: all
  for (size_t i = 1; i < rows_.size(); ++i) {
    rows.push_back(static_cast<uint16_t>(rows_[i] - 1));  // pixels have no class row
  }
  return block_.CopyPixelRows(rows, target);
}

Codec CodecOf(Selection::Encoding encoding) {
  switch (encoding) {
    case Selection::Encoding::kStored:
    case Selection::Encoding::kF32:
      return Codec::kF32;
    case Selection::Encoding::kF16:
      return Codec::kF16;
    case Selection::Encoding::kBf16:
      return Codec::kBf16;
    case Selection::Encoding::kI8x:
      return Codec::kI8x;
    case Selection::Encoding::kI6x:
      return Codec::kI6x;
    case Selection::Encoding::kI5x:
      return Codec::kI5x;
    case Selection::Encoding::kI4x:
      return Codec::kI4x;
  }
  return Codec::kF32;
}

std::string EncodingName(Selection::Encoding encoding) {
  return encoding == Selection::Encoding::kStored ? "stored" : CodecName(CodecOf(encoding));
}

std::vector<std::string> EncodingNames() {
  std::vector<std::string> names;
  for (int encoding = 0; encoding <= static_cast<int>(Selection::Encoding::kI4x); ++encoding)
    names.push_back(EncodingName(static_cast<Selection::Encoding>(encoding)));
  return names;
}

absl::StatusOr<Selection::Encoding> ParseEncoding(absl::string_view name) {
  const std::vector<std::string> names = EncodingNames();
  const auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<Selection::Encoding>(found - names.begin());
  return absl::InvalidArgumentError(
      absl::StrCat("encoding \"", name, "\" is unknown; known are: ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<PinnedBytes> SelectFromBlock(const FeatureBlock& block, const PinnedBytes& bytes,
                                            const Selection& selection, std::span<const uint16_t> mask) {
  if (block.is_failure()) return absl::FailedPreconditionError("the block of a failure has no parts");
  BlockSelector selector(block, selection);
  AFTERIMAGE_RETURN_IF_ERROR(selector.Resolve());
  if (selector.IsWhole()) {
    AFTERIMAGE_RETURN_IF_ERROR(block.VerifyAll());
    return bytes;
  }
  if (selection.tokens == Selection::Tokens::kMask) AFTERIMAGE_RETURN_IF_ERROR(selector.ResolveMask(mask));
  AFTERIMAGE_ASSIGN_OR_RETURN(std::string part, selector.Cut());
  PinnedBytes cut = PinnedBytes::FromString(std::move(part));
  cut.verified = bytes.verified;
  return cut;
}

}  // namespace afterimage
