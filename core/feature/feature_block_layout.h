// The bytes of a feature block, for the sources that write and read them (docs/feature_block_format.md).
// Private to core/feature.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/bytes.h"
#include "core/base/digest.h"
#include "core/feature/codec.h"
#include "core/feature/coded_plane.h"
#include "core/feature/packed_codes.h"
#include "core/view/view.h"

namespace afterimage::block {

inline constexpr std::array<uint8_t, 8> kMagic = {0x89, 'A', 'F', 'B', '\r', '\n', 0x1a, '\n'};
inline constexpr size_t kHeaderBytes = 144;
inline constexpr size_t kEntryBytes = 40;
inline constexpr size_t kAlignment = 64;  // of each section in the block: a cache line

// Offsets in the header.
inline constexpr size_t kVersionAt = 8;
inline constexpr size_t kHeaderBytesAt = 12;
inline constexpr size_t kTotalBytesAt = 16;
inline constexpr size_t kKindAt = 24;
inline constexpr size_t kFlagsAt = 25;
inline constexpr size_t kCodecAt = 26;
inline constexpr size_t kNumSectionsAt = 28;
inline constexpr size_t kGeometryAt = 32;  // image width, height, box x, y, width, height
inline constexpr size_t kViewDigestAt = 56;
inline constexpr size_t kViewSizeAt = 64;
inline constexpr size_t kGridAt = 68;
inline constexpr size_t kNumTokensAt = 72;
inline constexpr size_t kNumMasksAt = 76;
inline constexpr size_t kWidthAt = 80;
inline constexpr size_t kProfileDigestAt = 88;
inline constexpr size_t kRecordDigestAt = 120;
inline constexpr size_t kHeaderChecksumAt = 136;

// Bounds that keep every product of sizes far below 2^64.
inline constexpr uint32_t kMaxGrid = 255;
inline constexpr uint32_t kMaxViewSize = 1 << 16;
inline constexpr uint32_t kMaxColumns = 1 << 24;
inline constexpr uint32_t kMaxMasks = 1 << 12;
inline constexpr uint64_t kMaxEzqValues =
    1 << 24;  // of a plane: what its decoder allocates does not follow from its bytes
inline constexpr uint32_t kMaxLevel = 0xffff;
inline constexpr uint32_t kMaxReasonBytes = 4096;

enum class BlockKind : uint8_t { kRecord = 1, kFailure = 2 };

enum Flags : uint8_t {
  kFlipped = 1,    // the view is mirrored
  kPart = 2,       // a selection of a stored record: the record digest is the original's
  kMaskOrder = 4,  // tokens are the class token and the patches of one mask in drawn order; only with kPart
};

// In the order of the section table.
enum class SectionKind : uint16_t {
  kImportance = 1,
  kTokens = 2,
  kMasks = 3,
  kPlane = 4,
  kStatistics = 5,
  kPixels = 6,
  kReason = 7,
  kExceptions = 8,  // of a plane that HasExceptions: PlaneException, ascending by position
};

enum class ElementType : uint8_t {
  kF32 = 1,
  kF16 = 2,
  kU16 = 3,
  kU8 = 4,
  kBf16 = 5,
  kI8 = 6,
  kException = 7,
  kPacked4 = 8,  // rows of packed_codes.h, byte by byte
  kPacked5 = 9,
  kPacked6 = 10,
  kCodedF16 = 11,  // one row: a whole plane of lossless16.h
  kCodedBf16 = 12,
  kEzq = 13,           // one row: a whole plane of ezq.h
  kPackedPixels = 14,  // one row: all patches, as packed_pixels.h has them
};

inline constexpr uint16_t Code(SectionKind kind) { return static_cast<uint16_t>(kind); }

inline constexpr size_t ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kF32:
      return 4;
    case ElementType::kF16:
    case ElementType::kU16:
    case ElementType::kBf16:
      return 2;
    case ElementType::kU8:
    case ElementType::kI8:
    case ElementType::kPacked4:
    case ElementType::kPacked5:
    case ElementType::kPacked6:
    case ElementType::kCodedF16:
    case ElementType::kCodedBf16:
    case ElementType::kEzq:
    case ElementType::kPackedPixels:
      return 1;
    case ElementType::kException:
      return sizeof(PlaneException);
  }
  return 0;
}

// Bits of a packed type's codes; 0 for the others.
inline constexpr int PackedBits(ElementType type) {
  return type == ElementType::kPacked4   ? 4
         : type == ElementType::kPacked5 ? 5
         : type == ElementType::kPacked6 ? 6
                                         : 0;
}
inline constexpr bool HasExceptions(ElementType type) {
  return type == ElementType::kI8 || type == ElementType::kEzq || PackedBits(type) != 0;
}
// What a whole plane of coded bytes is decoded to; else the type itself.
inline constexpr ElementType RowType(ElementType type) {
  if (type == ElementType::kEzq) return ElementType::kI8;
  return type == ElementType::kCodedF16    ? ElementType::kF16
         : type == ElementType::kCodedBf16 ? ElementType::kBf16
                                           : type;
}

// Of a plane of this codec. In a block of a codec with exceptions a plane with too many of them is kF16
// instead.
inline constexpr ElementType PlaneType(Codec codec) {
  if (IsEzq(codec)) return ElementType::kEzq;  // of whatever step
  switch (codec) {
    case Codec::kF32:
      return ElementType::kF32;
    case Codec::kF16:
      return ElementType::kF16;
    case Codec::kBf16:
      return ElementType::kBf16;
    case Codec::kI8x:
      return ElementType::kI8;
    case Codec::kI6x:
      return ElementType::kPacked6;
    case Codec::kI5x:
      return ElementType::kPacked5;
    case Codec::kI4x:
      return ElementType::kPacked4;
    case Codec::kLossless16:
      return ElementType::kCodedF16;
    case Codec::kLosslessBf16:
      return ElementType::kCodedBf16;
    case Codec::kEzq32:
    case Codec::kEzq16:
    case Codec::kEzq8:
    case Codec::kEzq4:
    case Codec::kEzq2:
      return ElementType::kEzq;
  }
  return ElementType::kF32;
}

// The version that a block's header says: the first one that had its codec, and packed pixels where they are
// so, so that programs of that version read it too. `codec`: the header's, 0 in a failure.
inline constexpr uint32_t VersionOf(uint8_t codec, bool has_packed_pixels) {
  if (PackedBits(static_cast<Codec>(codec)) != 0) return 5;
  if (IsStepCodec(static_cast<Codec>(codec))) return 4;
  return has_packed_pixels ? 3 : codec <= static_cast<uint8_t>(Codec::kF16) ? 1 : 2;
}

inline constexpr size_t Align(size_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

// DataLoss for bytes that no writer of ours wrote.
template <typename... Parts>
absl::Status Damaged(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat("feature block: ", parts...));
}

// The fields of the header that a writer chooses; the others follow from the sections.
struct Header {
  BlockKind kind = BlockKind::kRecord;
  uint8_t flags = 0;
  uint8_t codec = 0;
  ViewGeometry geometry;
  uint64_t view_digest = 0;
  uint32_t view_size = 0;
  uint32_t grid = 0;
  uint32_t num_tokens = 0;
  uint32_t num_masks = 0;
  uint32_t width = 0;
  Digest256 profile_digest;
};

// Lays a block out, lets the caller fill the sections in place, and seals it. Declare everything, then
// Allocate, then fill, then Seal.
class Writer {
 public:
  // In the order of the table. Returns the section's number.
  size_t Declare(SectionKind kind, uint32_t level, ElementType type, uint32_t rows, uint32_t columns);
  // The exceptions of a plane; no section where there are none. They are copied in by Allocate, so that the
  // caller fills the other sections only: declare them last.
  void DeclareExceptions(uint32_t level, const std::vector<PlaneException>& exceptions);
  void Allocate();
  uint8_t* section(size_t index);
  // Computes all checksums. `original`: the record digest of the record that this is a part of; null for a
  // whole record.
  std::string Seal(const Header& header, const Digest128* original);

 private:
  struct Entry {
    SectionKind kind;
    uint32_t level;
    ElementType type;
    uint32_t rows;
    uint32_t columns;
    size_t offset = 0;
    size_t length = 0;
    const PlaneException* exceptions = nullptr;  // null: the caller fills it
  };

  std::vector<Entry> entries_;
  std::string bytes_;
};

// XXH3-128 of header and section table, record digest and header checksum taken as zero.
Digest128 RecordDigestOf(ByteSpan header_and_table);
// XXH3-64 of header and section table, header checksum taken as zero.
uint64_t HeaderChecksumOf(ByteSpan header_and_table);

}  // namespace afterimage::block
