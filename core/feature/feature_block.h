// The stored and the travelling form of a record. The bytes are described in docs/feature_block_format.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/base/digest.h"
#include "core/feature/feature_record.h"
#include "core/feature/feature_spec.h"
#include "core/feature/profile.h"

namespace afterimage {

namespace block {
class PlaneReader;
}  // namespace block

// The newest; all older ones are read too.
inline constexpr uint32_t kFeatureBlockVersion = 5;

// The block of one record. InvalidArgument: an inconsistent record (sizes, token order, levels), a NaN or Inf
// in a value (names level and token), a value beyond the codec's range; a codec that needs a profile
// (NeedsProfile), and `profile` is null, or has not these levels in this width. With PixelCoding::kPacked the
// pixels are packed where that makes them smaller, else raw.
absl::StatusOr<std::string> EncodeFeatureBlock(const FeatureRecord& record, Codec codec,
                                               const FeatureProfile* profile = nullptr,
                                               PixelCoding pixel_coding = PixelCoding::kRaw);

// The block that stands for a picture that cannot be decoded: final, with the reason.
std::string EncodeFailedBlock(absl::string_view reason);

// Which part of a record is wanted, and how it is to travel.
struct Selection {
  // Which tokens: all that are stored; or the class token and the patches of one mask.
  enum class Tokens : uint8_t { kStored, kMask };
  // How planes travel. The last four need the profile of the store (SetSpec::profile_digest); their errors
  // add to those of what is stored (docs/codecs.md).
  enum class Encoding : uint8_t { kStored, kF32, kF16, kBf16, kI8x, kI6x, kI5x, kI4x };

  std::vector<uint32_t> levels;  // empty = every stored level; ascending
  bool no_levels = false;        // importance and geometry only
  Tokens tokens = Tokens::kStored;
  bool pixels = true;  // false leaves them out
  Encoding encoding = Encoding::kStored;

  bool IsWhole() const {
    return levels.empty() && !no_levels && tokens == Tokens::kStored && pixels &&
           encoding == Encoding::kStored;
  }
  bool operator==(const Selection&) const = default;
};

// The codec of an encoding other than kStored.
Codec CodecOf(Selection::Encoding encoding);
// "stored", or the codec's name. ParseEncoding: InvalidArgument lists them.
std::vector<std::string> EncodingNames();
std::string EncodingName(Selection::Encoding encoding);
absl::StatusOr<Selection::Encoding> ParseEncoding(absl::string_view name);

// A parsed block: offsets into bytes that the caller keeps alive. Magic, version, sizes and the header
// checksum are verified by Parse before anything is allocated; each section's checksum each time that it is
// read, or all by VerifyAll, unless the bytes are verified already. Thread-safe for reading. Errors of damaged bytes are DataLoss without the
// key: the caller that knows it adds it.
class FeatureBlock {
 public:
  // FailedPrecondition: a newer format version (both told). DataLoss: anything else that does not fit.
  // `profile` must outlive the block. It is looked at when values are decoded that need it, and not before.
  static absl::StatusOr<FeatureBlock> Parse(ByteSpan bytes, const FeatureProfile* profile = nullptr);
  // The same; of verified bytes no section's checksum is computed again.
  static absl::StatusOr<FeatureBlock> Parse(const PinnedBytes& bytes,
                                            const FeatureProfile* profile = nullptr);

  // True for the block of a picture that could not be decoded; then only failure_reason() means anything.
  bool is_failure() const { return is_failure_; }
  // True for what SelectFromBlock has cut out or transcoded: not what a store keeps.
  bool is_part() const { return is_part_; }
  absl::StatusOr<std::string> failure_reason() const;

  // XXH3-128 of the stored record's header and section table: the same whatever subset travels.
  const Digest128& record_digest() const { return record_digest_; }
  Codec codec() const { return codec_; }
  // Zero: a codec that needs no profile.
  const Digest256& profile_digest() const { return profile_digest_; }
  // Planes that are stored as f16, since too many of their values were exceptions.
  uint32_t num_fallback_planes() const;
  const ViewGeometry& geometry() const { return geometry_; }
  uint64_t view_digest() const { return view_digest_; }
  uint32_t view_size() const { return view_size_; }
  uint32_t grid() const { return grid_; }
  uint32_t num_tokens() const { return num_tokens_; }  // rows of each plane
  uint32_t num_masks() const { return num_masks_; }
  bool has_pixels() const { return pixels_.has_value(); }
  bool has_packed_pixels() const;  // never in a part
  const std::vector<uint32_t>& levels() const { return levels_; }
  uint32_t width() const { return width_; }
  // What the values of a level take in the block: its plane and the exceptions of that. 0: not in the block.
  uint64_t LevelBytes(uint32_t level) const;
  // What the pixels take in the block; 0 without.
  uint64_t PixelBytes() const { return pixels_.has_value() ? pixels_->length : 0; }

  // Every section's checksum, and that tokens and masks are what the format says. Values are not looked at.
  absl::Status VerifyAll() const;

  absl::StatusOr<std::vector<float>> Importance() const;
  absl::StatusOr<std::vector<uint16_t>> Tokens() const;
  // Patches of mask `index`, in drawn order.
  absl::StatusOr<std::vector<uint16_t>> Mask(uint32_t index) const;

  // Decodes rows of one level straight into the caller's memory, rows.size() x width floats; `rows` are row
  // numbers of the plane (0 .. num_tokens() - 1), empty = all. NotFound: the level is not in the block.
  // FailedPrecondition: the block is coded with a profile, and none or another was given (both told).
  absl::Status ReadLevel(uint32_t level, std::span<const uint16_t> rows, std::span<float> target) const;
  // As ReadLevel, into elements of `format` (one of kF32, kF16, kBf16; host byte order), each rounded to the
  // nearest of it; those that are stored so are copied. FailedPrecondition: a value is
  // beyond the format.
  absl::Status ReadLevelAs(Codec format, uint32_t level, std::span<const uint16_t> rows,
                           std::span<uint8_t> target) const;
  // Mean and inverse deviation of rows of a level, as ReadLevel.
  absl::Status ReadLevelStatistics(uint32_t level, std::span<const uint16_t> rows, std::span<float> mean,
                                   std::span<float> inverse_deviation) const;
  // Gathers pixel rows: `rows` are positions in the stored patches (token row minus 1), empty = all. Raw or
  // packed, a row costs its share only.
  absl::Status ReadPixels(std::span<const uint16_t> rows, std::span<uint8_t> target) const;

  // Everything, decoded.
  absl::StatusOr<FeatureRecord> ToRecord() const;

 private:
  struct Section {
    uint16_t kind = 0;
    uint16_t level = 0;
    uint8_t type = 0;  // block::ElementType
    uint32_t rows = 0;
    uint32_t columns = 0;
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t checksum = 0;
  };
  friend class BlockSelector;  // feature_block_select.cc
  friend class CodedLevel;     // coded_level.h

  absl::Status ParseHeader();
  absl::Status ParseSections();
  absl::Status CheckSections();
  bool PlaneFits(const Section& section) const;
  bool PixelsFit(const Section& section) const;
  absl::StatusOr<ByteSpan> Verified(const Section& section) const;
  // The plane of a level, verified. `decodes`: values or single rows will be read, so a profile is needed
  // where there is one, and coded planes are decoded.
  absl::StatusOr<block::PlaneReader> OpenPlane(uint32_t level, bool decodes) const;
  absl::StatusOr<block::PlaneReader> OpenEzqPlane(uint32_t level, ByteSpan bytes, bool decodes) const;
  template <typename Read>
  absl::Status ReadRows(uint32_t level, std::span<const uint16_t> rows, size_t room, Read read) const;
  absl::StatusOr<const LevelCodes*> CodesOf(uint32_t level) const;
  absl::StatusOr<ByteSpan> ExceptionsOf(uint32_t level) const;  // checked; empty where there are none
  const Section* FindLevel(uint16_t kind, uint32_t level) const;
  // Of a pixel row, where the block has pixels.
  uint64_t PixelRowBytes() const;
  // The pixels of these stored patches, all of which there are; empty: all. Verified.
  absl::Status CopyPixelRows(std::span<const uint16_t> rows, uint8_t* target) const;

  ByteSpan bytes_;
  bool is_verified_ = false;
  bool is_failure_ = false;
  bool is_part_ = false;
  bool is_mask_order_ = false;
  Digest128 record_digest_;
  Codec codec_ = Codec::kF32;
  Digest256 profile_digest_;
  const FeatureProfile* profile_ = nullptr;
  ViewGeometry geometry_;
  uint64_t view_digest_ = 0;
  uint32_t view_size_ = 0;
  uint32_t grid_ = 0;
  uint32_t num_tokens_ = 0;
  uint32_t num_masks_ = 0;
  uint32_t width_ = 0;
  std::vector<uint32_t> levels_;
  std::vector<Section> sections_;
  std::optional<Section> pixels_;
};

// The part of a block that `selection` asks for, as a block of its own with checksums of its own and the
// record digest of the original. Pixels of a part are raw. With Tokens::kMask, `mask` holds the patches
// (in drawn order); its rows follow the class token in that order, and the mask is the block's only one.
// Returns `bytes`, uncopied, when the selection is the whole; these must be what `block` was parsed from. What
// is cut out of verified bytes is verified. NotFound: a level that is not stored. DataLoss: a section that is read fails its checksum.
// FailedPrecondition: pixels (unless the selection is the whole) or patches of the mask that are not
// stored, a value beyond the range of the encoding; values that are coded with a profile are to be
// transcoded, or the encoding needs one, and `block` has none or another. InvalidArgument: levels not
// ascending, an empty mask, a patch twice or beyond the grid.
absl::StatusOr<PinnedBytes> SelectFromBlock(const FeatureBlock& block, const PinnedBytes& bytes,
                                            const Selection& selection, std::span<const uint16_t> mask);

}  // namespace afterimage
