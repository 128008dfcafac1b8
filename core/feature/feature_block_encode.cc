#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/ezq.h"
#include "core/feature/feature_block.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/feature_block_values.h"
#include "core/feature/lossless16.h"
#include "core/feature/packed_pixels.h"

namespace afterimage {
namespace {

using block::ElementType;
using block::SectionKind;

template <typename... Parts>
absl::Status Refused(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("feature record: ", parts...));
}

absl::Status CheckTokensAndMasks(const FeatureRecord& record) {
  const size_t num_patches = size_t{record.grid} * record.grid;
  if (record.tokens.empty() || record.tokens.front() != 0)
    return Refused("the first token is not the class token");
  if (std::adjacent_find(record.tokens.begin(), record.tokens.end(), std::greater_equal<>()) !=
      record.tokens.end()) {
    return Refused("the tokens are not ascending");
  }
  if (record.tokens.back() > num_patches) {
    return Refused("token ", record.tokens.back(), " of ", num_patches, " patches");
  }
  if (record.masks.size() > block::kMaxMasks) {
    return Refused(record.masks.size(), " masks, at most ", block::kMaxMasks, " are possible");
  }
  for (size_t i = 0; i < record.masks.size(); ++i) {
    const std::vector<uint16_t>& mask = record.masks[i];
    if (mask.empty() || mask.size() != record.masks.front().size()) {
      return Refused("mask ", i, " has ", mask.size(), " patches, mask 0 has ", record.masks.front().size());
    }
    std::vector<bool> seen(num_patches, false);
    for (const uint16_t patch : mask) {
      if (patch >= num_patches || seen[patch] ||
          !std::binary_search(record.tokens.begin(), record.tokens.end(), static_cast<uint16_t>(patch + 1))) {
        return Refused("patch ", patch, " of mask ", i, " is not a stored token or comes twice");
      }
      seen[patch] = true;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLevels(const FeatureRecord& record) {
  const size_t rows = record.tokens.size();
  for (size_t i = 0; i < record.levels.size(); ++i) {
    const LevelFeatures& level = record.levels[i];
    if (level.level == 0 || level.level > block::kMaxLevel ||
        (i > 0 && level.level <= record.levels[i - 1].level)) {
      return Refused("levels are not ascending from 1: ", level.level);
    }
    if (level.width == 0 || level.width > block::kMaxColumns || level.width != record.levels.front().width) {
      return Refused("level ", level.level, " has the width ", level.width, ", the first level ",
                     record.levels.front().width);
    }
    if (level.values.size() != rows * level.width || level.mean.size() != rows ||
        level.inverse_deviation.size() != rows) {
      return Refused("level ", level.level, " has ", level.values.size(), " values, ", level.mean.size(),
                     " means and ", level.inverse_deviation.size(), " deviations for ", rows,
                     " tokens of width ", level.width);
    }
    for (size_t row = 0; row < rows; ++row) {
      if (!std::isfinite(level.mean[row]) || !std::isfinite(level.inverse_deviation[row])) {
        return Refused("level ", level.level, ", token ", record.tokens[row], ": mean ", level.mean[row],
                       ", inverse deviation ", level.inverse_deviation[row], " are not finite");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRecord(const FeatureRecord& record) {
  if (record.grid == 0 || record.grid > block::kMaxGrid) {
    return Refused("the grid is ", record.grid, ", it must be in 1..", block::kMaxGrid);
  }
  if (record.view_size == 0 || record.view_size > block::kMaxViewSize) {
    return Refused("the view's side is ", record.view_size, ", it must be in 1..", block::kMaxViewSize);
  }
  const size_t num_patches = size_t{record.grid} * record.grid;
  if (record.importance.size() != num_patches) {
    return Refused(record.importance.size(), " importance values for ", num_patches, " patches");
  }
  for (size_t patch = 0; patch < num_patches; ++patch) {
    if (!std::isfinite(record.importance[patch]) || record.importance[patch] < 0) {
      return Refused("the importance of patch ", patch, " is ", record.importance[patch]);
    }
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckTokensAndMasks(record));
  AFTERIMAGE_RETURN_IF_ERROR(CheckLevels(record));
  if (record.pixels.empty()) return absl::OkStatus();
  const uint64_t patch_bytes = uint64_t{3} * record.patch_size() * record.patch_size();
  if (record.view_size % record.grid != 0 || patch_bytes > block::kMaxColumns) {
    return Refused("pixels of a view of ", record.view_size, " pixels on a grid of ", record.grid);
  }
  if (record.pixels.size() != (record.tokens.size() - 1) * patch_bytes) {
    return Refused(record.pixels.size(), " bytes of pixels for ", record.tokens.size() - 1, " patches of ",
                   patch_bytes);
  }
  return absl::OkStatus();
}

// A plane on its way into the block; one of floats is written in place instead.
struct EncodedPlane {
  ElementType type = ElementType::kF32;
  std::vector<uint8_t> bytes;
  std::vector<PlaneException> exceptions;
};

absl::Status EncodeFloatPlane(const LevelFeatures& level, const std::vector<uint16_t>& tokens, Codec codec,
                              uint8_t* target) {
  const std::span<const float> values(level.values);
  const size_t bad = block::EncodeFloats(block::PlaneType(codec), values, target);
  if (bad == values.size()) return absl::OkStatus();
  const std::string why =
      std::isfinite(values[bad])
          ? absl::StrCat(" is beyond the range of ", CodecName(codec), "; use codec ", CodecName(Codec::kF32))
          : " is not a finite number";
  return Refused("level ", level.level, ", token ", tokens[bad / level.width], ", channel ",
                 bad % level.width, ": ", values[bad], why);
}

absl::StatusOr<EncodedPlane> EncodeCodedPlane(const LevelFeatures& level, const std::vector<uint16_t>& tokens,
                                              Codec codec) {
  std::vector<uint8_t> floats(level.values.size() * sizeof(uint16_t));
  AFTERIMAGE_RETURN_IF_ERROR(EncodeFloatPlane(level, tokens, RowCodec(codec), floats.data()));
  EncodedPlane plane{block::PlaneType(codec), EncodeLossless16(floats), {}};
  if (plane.bytes.size() <= block::kMaxColumns) return plane;
  return Refused("level ", level.level, ": a plane of ", plane.bytes.size(), " bytes is too large for codec ",
                 CodecName(codec));
}

absl::StatusOr<EncodedPlane> EncodeWithProfile(const FeatureRecord& record, const LevelFeatures& level,
                                               Codec codec, const FeatureProfile* profile) {
  const std::vector<uint16_t>& tokens = record.tokens;
  const LevelCodes* const codes = profile == nullptr ? nullptr : profile->FindCodes(level.level);
  if (codes == nullptr || profile->width() != level.width) {
    return Refused("codec ", CodecName(codec), " needs a profile with level ", level.level, " of width ",
                   level.width,
                   profile == nullptr ? std::string("; none is given")
                                      : absl::StrCat("; not so is ", profile->digest().Hex()));
  }
  const size_t bad = block::FirstBeyond(level.values, kLargestFeature);
  if (bad != level.values.size()) {
    const float value = level.values[bad];
    return Refused("level ", level.level, ", token ", tokens[bad / level.width], ", channel ",
                   bad % level.width, ": ", value,
                   std::isfinite(value)
                       ? absl::StrCat(" is beyond ", kLargestFeature, ", the range of ", CodecName(codec))
                       : std::string(" is not a finite number"));
  }
  if (IsEzq(codec)) {
    if (level.values.size() > block::kMaxEzqValues) {
      return Refused("level ", level.level, ": a plane of ", level.values.size(),
                     " values is too large for codec ", CodecName(codec), ", which takes ",
                     block::kMaxEzqValues);
    }
    const uint32_t grid = tokens.size() == size_t{record.grid} * record.grid + 1 ? record.grid : 0;
    CodedPlane plane = EncodeEzqPlane(codes->ezq.Of(codec), grid, level.values);
    return EncodedPlane{plane.is_f16 ? ElementType::kF16 : ElementType::kEzq, std::move(plane.bytes),
                        std::move(plane.exceptions)};
  }
  CodedPlane coded = codec == Codec::kI8x ? EncodeI8xPlane(codes->i8x, level.values)
                                          : EncodePackedPlane(codes->packed, PackedBits(codec), level.values);
  return EncodedPlane{coded.is_f16 ? ElementType::kF16 : block::PlaneType(codec), std::move(coded.bytes),
                      std::move(coded.exceptions)};
}

// One per level; none where planes are floats.
absl::StatusOr<std::vector<EncodedPlane>> EncodePlanes(const FeatureRecord& record, Codec codec,
                                                       const FeatureProfile* profile) {
  std::vector<EncodedPlane> planes;
  if (block::IsFloat(block::PlaneType(codec))) return planes;
  for (const LevelFeatures& level : record.levels) {
    AFTERIMAGE_ASSIGN_OR_RETURN(planes.emplace_back(), NeedsProfile(codec)
                                                           ? EncodeWithProfile(record, level, codec, profile)
                                                           : EncodeCodedPlane(level, record.tokens, codec));
  }
  return planes;
}

}  // namespace

absl::StatusOr<std::string> EncodeFeatureBlock(const FeatureRecord& record, Codec codec,
                                               const FeatureProfile* profile, PixelCoding pixel_coding) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckRecord(record));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<EncodedPlane> encoded, EncodePlanes(record, codec, profile));
  std::vector<uint8_t> packed_pixels;
  if (pixel_coding == PixelCoding::kPacked) packed_pixels = PackPixels(record.patch_size(), record.pixels);
  const uint32_t num_tokens = record.num_tokens();
  const uint32_t num_patches = record.grid * record.grid;
  const bool has_pixels = !record.pixels.empty();

  block::Header header;
  header.flags = record.geometry.flipped ? block::kFlipped : 0;
  header.codec = static_cast<uint8_t>(codec);
  header.geometry = record.geometry;
  header.view_digest = record.view_digest;
  header.view_size = record.view_size;
  header.grid = record.grid;
  header.num_tokens = num_tokens;
  header.num_masks = static_cast<uint32_t>(record.masks.size());
  header.width = record.levels.empty() ? 0 : record.levels.front().width;
  if (NeedsProfile(codec)) {
    if (profile == nullptr) return Refused("codec ", CodecName(codec), " needs a profile; none is given");
    header.profile_digest = profile->digest();
  }

  block::Writer writer;
  writer.Declare(SectionKind::kImportance, 0, ElementType::kF32, 1, num_patches);
  const bool all_tokens = num_tokens == num_patches + 1;
  if (!all_tokens) writer.Declare(SectionKind::kTokens, 0, ElementType::kU16, 1, num_tokens);
  if (header.num_masks > 0) {
    writer.Declare(SectionKind::kMasks, 0, ElementType::kU16, header.num_masks,
                   static_cast<uint32_t>(record.masks.front().size()));
  }
  for (size_t i = 0; i < record.levels.size(); ++i) {
    const ElementType type = encoded.empty() ? block::PlaneType(codec) : encoded[i].type;
    const bool whole = block::RowType(type) != type;
    writer.Declare(SectionKind::kPlane, record.levels[i].level, type, whole ? 1 : num_tokens,
                   static_cast<uint32_t>(whole                          ? encoded[i].bytes.size()
                                         : block::PackedBits(type) != 0 ? encoded[i].bytes.size() / num_tokens
                                                                        : record.levels[i].width));
  }
  for (const LevelFeatures& level : record.levels) {
    writer.Declare(SectionKind::kStatistics, level.level, ElementType::kF32, 2, num_tokens);
  }
  if (!packed_pixels.empty()) {
    writer.Declare(SectionKind::kPixels, 0, ElementType::kPackedPixels, 1,
                   static_cast<uint32_t>(packed_pixels.size()));
  } else if (has_pixels) {
    writer.Declare(SectionKind::kPixels, 0, ElementType::kU8, num_tokens - 1,
                   3 * record.patch_size() * record.patch_size());
  }
  for (size_t i = 0; i < encoded.size(); ++i) {
    writer.DeclareExceptions(record.levels[i].level, encoded[i].exceptions);
  }
  writer.Allocate();

  size_t section = 0;
  const auto fill = [&](const auto& values) {
    std::memcpy(writer.section(section++), values.data(), values.size() * sizeof(values[0]));
  };
  fill(record.importance);
  if (!all_tokens) fill(record.tokens);
  if (header.num_masks > 0) {
    uint8_t* target = writer.section(section++);
    for (const std::vector<uint16_t>& mask : record.masks) {
      std::memcpy(target, mask.data(), mask.size() * sizeof(uint16_t));
      target += mask.size() * sizeof(uint16_t);
    }
  }
  for (const EncodedPlane& plane : encoded) fill(plane.bytes);
  for (size_t i = encoded.size(); i < record.levels.size(); ++i) {
    AFTERIMAGE_RETURN_IF_ERROR(
        EncodeFloatPlane(record.levels[i], record.tokens, codec, writer.section(section++)));
  }
  for (const LevelFeatures& level : record.levels) {
    uint8_t* const target = writer.section(section++);
    std::memcpy(target, level.mean.data(), num_tokens * sizeof(float));
    std::memcpy(target + num_tokens * sizeof(float), level.inverse_deviation.data(),
                num_tokens * sizeof(float));
  }
  if (has_pixels) fill(packed_pixels.empty() ? record.pixels : packed_pixels);
  return writer.Seal(header, /*original=*/nullptr);
}

std::string EncodeFailedBlock(absl::string_view reason) {
  reason = reason.substr(0, block::kMaxReasonBytes);
  block::Writer writer;
  writer.Declare(SectionKind::kReason, 0, ElementType::kU8, 1, static_cast<uint32_t>(reason.size()));
  writer.Allocate();
  std::copy(reason.begin(), reason.end(), writer.section(0));
  block::Header header;
  header.kind = block::BlockKind::kFailure;
  return writer.Seal(header, /*original=*/nullptr);
}

}  // namespace afterimage
