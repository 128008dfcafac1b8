#include "core/feature/feature_block.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/packed_pixels.h"

namespace afterimage {
namespace {

using block::Code;
using block::Damaged;
using block::ElementType;
using block::SectionKind;

// Magic, version, lengths and checksum. Nothing larger than the block itself is allocated before this has
// passed.
absl::Status CheckHead(ByteSpan bytes) {
  if (bytes.size() < block::kVersionAt + sizeof(uint32_t)) return Damaged(bytes.size(), " bytes are too few");
  if (!std::equal(block::kMagic.begin(), block::kMagic.end(), bytes.begin())) return Damaged("wrong magic");
  const uint32_t version = LoadLittleEndian<uint32_t>(bytes.data() + block::kVersionAt);
  if (version == 0 || version > kFeatureBlockVersion) {
    return absl::FailedPreconditionError(absl::StrCat("feature block: format version ", version,
                                                      ", this program reads versions 1 to ",
                                                      kFeatureBlockVersion));
  }
  if (bytes.size() < block::kHeaderBytes) return Damaged(bytes.size(), " bytes are too few");
  const uint32_t header_bytes = LoadLittleEndian<uint32_t>(bytes.data() + block::kHeaderBytesAt);
  if (header_bytes != block::kHeaderBytes) return Damaged("a header of ", header_bytes, " bytes");
  const uint64_t total_bytes = LoadLittleEndian<uint64_t>(bytes.data() + block::kTotalBytesAt);
  if (total_bytes != bytes.size()) {
    return Damaged("the header says ", total_bytes, " bytes, there are ", bytes.size());
  }
  const uint32_t num_sections = LoadLittleEndian<uint32_t>(bytes.data() + block::kNumSectionsAt);
  if (num_sections > (bytes.size() - block::kHeaderBytes) / block::kEntryBytes) {
    return Damaged(num_sections, " sections do not fit into ", bytes.size(), " bytes");
  }
  const size_t head_bytes = block::kHeaderBytes + num_sections * block::kEntryBytes;
  if (block::HeaderChecksumOf(bytes.first(head_bytes)) !=
      LoadLittleEndian<uint64_t>(bytes.data() + block::kHeaderChecksumAt)) {
    return Damaged("the header's checksum does not fit");
  }
  return absl::OkStatus();
}

bool IsZero(ByteSpan bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

absl::StatusOr<FeatureBlock> FeatureBlock::Parse(ByteSpan bytes, const FeatureProfile* profile) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckHead(bytes));
  FeatureBlock parsed;
  parsed.bytes_ = bytes;
  parsed.profile_ = profile;
  AFTERIMAGE_RETURN_IF_ERROR(parsed.ParseHeader());
  AFTERIMAGE_RETURN_IF_ERROR(parsed.ParseSections());
  AFTERIMAGE_RETURN_IF_ERROR(parsed.CheckSections());
  return parsed;
}

absl::StatusOr<FeatureBlock> FeatureBlock::Parse(const PinnedBytes& bytes, const FeatureProfile* profile) {
  absl::StatusOr<FeatureBlock> parsed = Parse(bytes.bytes, profile);
  if (parsed.ok()) parsed->is_verified_ = bytes.verified;
  return parsed;
}

absl::Status FeatureBlock::ParseHeader() {
  const uint8_t* const header = bytes_.data();
  const auto load = [header](size_t at) { return LoadLittleEndian<uint32_t>(header + at); };
  const uint8_t kind = header[block::kKindAt];
  const uint8_t flags = header[block::kFlagsAt];
  const uint8_t codec = header[block::kCodecAt];
  if (kind != static_cast<uint8_t>(block::BlockKind::kRecord) &&
      kind != static_cast<uint8_t>(block::BlockKind::kFailure)) {
    return Damaged("unknown kind ", kind);
  }
  is_failure_ = kind == static_cast<uint8_t>(block::BlockKind::kFailure);
  if (flags > (block::kFlipped | block::kPart | block::kMaskOrder) ||
      ((flags & block::kMaskOrder) != 0 && (flags & block::kPart) == 0)) {
    return Damaged("unknown flags ", flags);
  }
  is_part_ = (flags & block::kPart) != 0;
  is_mask_order_ = (flags & block::kMaskOrder) != 0;
  // The one of packed pixels only if the sections have some: CheckSections looks.
  const uint32_t version = load(block::kVersionAt);
  if (PackedBits(static_cast<Codec>(codec)) != 0 && (version == 2 || version == 3)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "feature block: codec ", CodecName(static_cast<Codec>(codec)), " in format version ", version,
        ", this program reads version 5: rows of i4x, i5x and i6x became other ones before the first "
        "release. "
        "Make the set anew: `afterimage recode` from a set of another codec, or `afterimage-precompute`"));
  }
  if (version != block::VersionOf(codec, false) && version != block::VersionOf(codec, true)) {
    return Damaged("codec ", codec, " in format version ", version);
  }
  record_digest_ = {LoadLittleEndian<uint64_t>(header + block::kRecordDigestAt),
                    LoadLittleEndian<uint64_t>(header + block::kRecordDigestAt + 8)};
  const size_t head_bytes = block::kHeaderBytes + size_t{load(block::kNumSectionsAt)} * block::kEntryBytes;
  if (!is_part_ && record_digest_ != block::RecordDigestOf(bytes_.first(head_bytes))) {
    return Damaged("the record digest does not fit");
  }

  geometry_.image_width = load(block::kGeometryAt);
  geometry_.image_height = load(block::kGeometryAt + 4);
  geometry_.box = {load(block::kGeometryAt + 8), load(block::kGeometryAt + 12), load(block::kGeometryAt + 16),
                   load(block::kGeometryAt + 20)};
  geometry_.flipped = (flags & block::kFlipped) != 0;
  view_digest_ = LoadLittleEndian<uint64_t>(header + block::kViewDigestAt);
  view_size_ = load(block::kViewSizeAt);
  grid_ = load(block::kGridAt);
  num_tokens_ = load(block::kNumTokensAt);
  num_masks_ = load(block::kNumMasksAt);
  width_ = load(block::kWidthAt);
  std::memcpy(profile_digest_.bytes.data(), header + block::kProfileDigestAt, profile_digest_.bytes.size());
  if (is_failure_) {
    if (!IsZero(bytes_.subspan(block::kFlagsAt, 3)) ||
        !IsZero(bytes_.subspan(block::kGeometryAt, block::kRecordDigestAt - block::kGeometryAt))) {
      return Damaged("the block of a failure with fields of a record");
    }
    return absl::OkStatus();
  }

  if (std::ranges::find(kAllCodecs, static_cast<Codec>(codec)) == std::end(kAllCodecs) &&
      !IsStepCodec(static_cast<Codec>(codec))) {
    return Damaged("unknown codec ", codec);
  }
  codec_ = static_cast<Codec>(codec);
  if (NeedsProfile(codec_) == profile_digest_.IsZero()) {
    return Damaged("codec ", CodecName(codec_), " with the profile ", profile_digest_.Hex());
  }
  if (grid_ == 0 || grid_ > block::kMaxGrid) return Damaged("a grid of ", grid_);
  if (view_size_ == 0 || view_size_ > block::kMaxViewSize)
    return Damaged("a view of ", view_size_, " pixels");
  if (num_tokens_ == 0 || num_tokens_ > grid_ * grid_ + 1) {
    return Damaged(num_tokens_, " tokens of a grid of ", grid_);
  }
  if (num_masks_ > block::kMaxMasks) return Damaged(num_masks_, " masks");
  if (header[block::kCodecAt + 1] != 0 || load(block::kWidthAt + 4) != 0)
    return Damaged("a reserved field is not zero");
  return absl::OkStatus();
}

absl::Status FeatureBlock::ParseSections() {
  const uint32_t num_sections = LoadLittleEndian<uint32_t>(bytes_.data() + block::kNumSectionsAt);
  size_t end = block::kHeaderBytes + size_t{num_sections} * block::kEntryBytes;
  sections_.reserve(num_sections);
  for (uint32_t i = 0; i < num_sections; ++i) {
    const uint8_t* const entry = bytes_.data() + block::kHeaderBytes + i * block::kEntryBytes;
    Section section;
    section.kind = LoadLittleEndian<uint16_t>(entry);
    section.level = LoadLittleEndian<uint16_t>(entry + 2);
    section.type = entry[4];
    section.rows = LoadLittleEndian<uint32_t>(entry + 8);
    section.columns = LoadLittleEndian<uint32_t>(entry + 12);
    section.offset = LoadLittleEndian<uint64_t>(entry + 16);
    section.length = LoadLittleEndian<uint64_t>(entry + 24);
    section.checksum = LoadLittleEndian<uint64_t>(entry + 32);
    if (!IsZero({entry + 5, 3})) return Damaged("a reserved field of section ", i, " is not zero");
    if (section.kind < Code(SectionKind::kImportance) || section.kind > Code(SectionKind::kExceptions)) {
      return Damaged("section ", i, " is of the unknown kind ", section.kind);
    }
    if (i > 0 &&
        std::pair(section.kind, section.level) <= std::pair(sections_.back().kind, sections_.back().level)) {
      return Damaged("section ", i, " is out of order");
    }
    // Two bytes of rows, three of columns, at most eight bytes an element: the product stays below 2^44.
    if (section.rows > 0xffff || section.columns > block::kMaxColumns) {
      return Damaged("section ", i, " of ", section.rows, " x ", section.columns);
    }
    const uint64_t length = uint64_t{section.rows} * section.columns *
                            block::ElementBytes(static_cast<ElementType>(section.type));
    // Nothing is free to choose in the layout, so that each byte belongs to a section or is a zero.
    const uint64_t offset = block::Align(end);
    if (section.length != length || section.offset != offset || offset > bytes_.size() ||
        length > bytes_.size() - offset) {
      return Damaged("section ", i, " of ", section.length, " bytes at ", section.offset, " does not fit");
    }
    if (!IsZero(bytes_.subspan(end, offset - end)))
      return Damaged("the padding before section ", i, " is not zero");
    end = offset + length;
    sections_.push_back(section);
  }
  if (end != bytes_.size()) return Damaged(bytes_.size() - end, " bytes after the last section");
  return absl::OkStatus();
}

bool FeatureBlock::PlaneFits(const Section& section) const {
  const ElementType type = static_cast<ElementType>(section.type);
  const ElementType expected = block::PlaneType(codec_);
  if (type == expected && block::RowType(type) != type) {
    // What a reader allocates is bounded here: lossless16 has a byte for each value, besides its frame.
    const uint64_t num_values = uint64_t{num_tokens_} * width_;
    const uint64_t most = type == ElementType::kEzq ? block::kMaxEzqValues : section.columns;
    return section.rows == 1 && section.columns > 0 && num_values <= most;
  }
  const bool fell_back = type == ElementType::kF16 && NeedsProfile(codec_);
  if ((type != expected && !fell_back) || section.rows != num_tokens_) return false;
  if (block::PackedBits(type) == 0) return section.columns == width_;
  // How many channels are wide, the profile says, where the block's is at hand. Without it rows are copied,
  // and never decoded.
  const bool is_known =
      profile_ != nullptr && profile_->digest() == profile_digest_ && profile_->width() == width_;
  const LevelCodes* const codes = is_known ? profile_->FindCodes(section.level) : nullptr;
  const size_t least = codes == nullptr ? 0 : codes->packed.wide().size();
  const size_t most = codes == nullptr ? width_ : least;
  return section.columns >= PackedRowBytes(block::PackedBits(type), width_, least) &&
         section.columns <= PackedRowBytes(block::PackedBits(type), width_, most);
}

// Raw rows, or what they are packed into, which is smaller and of a size that a reader may allocate.
bool FeatureBlock::PixelsFit(const Section& section) const {
  const uint64_t row_bytes = PixelRowBytes();
  const uint64_t raw_bytes = (num_tokens_ - 1) * row_bytes;
  if (grid_ == 0 || view_size_ % grid_ != 0) return false;
  if (section.type == static_cast<uint8_t>(ElementType::kPackedPixels)) {
    return !is_part_ && section.rows == 1 && section.columns < raw_bytes && row_bytes <= kMaxPackedRowBytes &&
           raw_bytes <= kMaxPackedPixelBytes;
  }
  return section.type == static_cast<uint8_t>(ElementType::kU8) && section.rows == num_tokens_ - 1 &&
         section.columns == row_bytes;
}

// Kinds, types and sizes against the header, and that nothing is missing.
absl::Status FeatureBlock::CheckSections() {
  const uint32_t num_patches = grid_ * grid_;
  bool has_importance = false;
  bool has_tokens = false;
  bool has_masks = false;
  bool has_reason = false;
  size_t num_statistics = 0;
  for (const Section& section : sections_) {
    const auto is = [&](ElementType type, uint64_t rows, uint64_t columns) {
      return section.type == static_cast<uint8_t>(type) && section.rows == rows && section.columns == columns;
    };
    const SectionKind kind = static_cast<SectionKind>(section.kind);
    const bool of_level =
        kind == SectionKind::kPlane || kind == SectionKind::kStatistics || kind == SectionKind::kExceptions;
    bool fits = (section.level != 0) == of_level && (kind == SectionKind::kReason) == is_failure_;
    switch (kind) {
      case SectionKind::kImportance:
        fits = fits && is(ElementType::kF32, 1, num_patches);
        has_importance = true;
        break;
      case SectionKind::kTokens:
        fits = fits && is(ElementType::kU16, 1, num_tokens_);
        has_tokens = true;
        break;
      case SectionKind::kMasks:
        fits = fits && num_masks_ > 0 && section.columns > 0 && section.columns < num_tokens_ &&
               is(ElementType::kU16, num_masks_, section.columns);
        has_masks = true;
        break;
      case SectionKind::kPlane:
        fits = fits && width_ > 0 && PlaneFits(section);
        levels_.push_back(section.level);
        break;
      case SectionKind::kStatistics:
        fits = fits && is(ElementType::kF32, 2, num_tokens_) && num_statistics < levels_.size() &&
               levels_[num_statistics] == section.level;
        ++num_statistics;
        break;
      case SectionKind::kPixels:
        fits = fits && PixelsFit(section);
        pixels_ = section;
        break;
      case SectionKind::kExceptions: {
        const Section* const plane = FindLevel(Code(SectionKind::kPlane), section.level);
        fits = fits && plane != nullptr && block::HasExceptions(static_cast<ElementType>(plane->type)) &&
               section.columns > 0 && section.columns <= uint64_t{num_tokens_} * width_ &&
               is(ElementType::kException, 1, section.columns);
        break;
      }
      case SectionKind::kReason:
        fits = fits && is(ElementType::kU8, 1, section.columns) && section.columns <= block::kMaxReasonBytes;
        has_reason = true;
        break;
    }
    if (!fits) {
      return Damaged("the section of kind ", section.kind, ", level ", section.level, ", type ", section.type,
                     ", ", section.rows, " x ", section.columns, " does not fit the header");
    }
  }
  const uint8_t codec = bytes_[block::kCodecAt];
  const uint32_t version = LoadLittleEndian<uint32_t>(bytes_.data() + block::kVersionAt);
  if (version != block::VersionOf(codec, has_packed_pixels())) {
    return Damaged(has_packed_pixels() ? "" : "no ", "packed pixels in format version ", version);
  }
  if (is_failure_) return has_reason ? absl::OkStatus() : Damaged("a failure without its reason");
  if (!has_importance) return Damaged("no importance");
  if (!has_tokens && num_tokens_ != num_patches + 1) return Damaged("no token list, but not all tokens");
  if (has_masks != (num_masks_ > 0)) return Damaged("no masks");
  if (num_statistics != levels_.size()) return Damaged("a level without its statistics");
  return absl::OkStatus();
}

}  // namespace afterimage
