#include <spng.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/image/decode.h"
#include "core/image/decoders.h"
#include "core/image/exif.h"

namespace afterimage::image_internal {
namespace {

// Text and profile chunks may be compressed; what they unpack to is bounded.
constexpr size_t kMaxChunkBytes = size_t{64} << 20;

absl::Status PngStatus(int error) {
  return absl::InvalidArgumentError(absl::StrCat("truncated or corrupt PNG: ", spng_strerror(error)));
}

#define AFTERIMAGE_RETURN_IF_PNG_ERROR(expression)                           \
  do {                                                                       \
    if (const int error = (expression); error != 0) return PngStatus(error); \
  } while (false)

// Whether the chunks end with a whole IEND; libspng does not look at its checksum.
bool HasWholeEnd(ByteSpan encoded) {
  size_t offset = 8;                       // the signature
  while (encoded.size() - offset >= 12) {  // length 4, name 4, checksum 4
    const uint8_t* chunk = encoded.data() + offset;
    const uint32_t length =
        uint32_t{chunk[0]} << 24 | uint32_t{chunk[1]} << 16 | uint32_t{chunk[2]} << 8 | chunk[3];
    if (std::memcmp(chunk + 4, "IEND", 4) == 0) return true;
    if (length > encoded.size() - offset - 12) return false;
    offset += size_t{length} + 12;
  }
  return false;
}

absl::StatusOr<DecodedImage> Decode(spng_ctx* context, ByteSpan encoded) {
  AFTERIMAGE_RETURN_IF_PNG_ERROR(spng_set_chunk_limits(context, kMaxChunkBytes, kMaxChunkBytes));
  AFTERIMAGE_RETURN_IF_PNG_ERROR(spng_set_crc_action(context, SPNG_CRC_ERROR, SPNG_CRC_ERROR));
  AFTERIMAGE_RETURN_IF_PNG_ERROR(spng_set_png_buffer(context, encoded.data(), encoded.size()));
  spng_ihdr header;
  AFTERIMAGE_RETURN_IF_PNG_ERROR(spng_get_ihdr(context, &header));
  AFTERIMAGE_RETURN_IF_ERROR(CheckImageSize(header.width, header.height));

  spng_trns transparency;
  const bool has_alpha = header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ||
                         header.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA ||
                         spng_get_trns(context, &transparency) == 0;
  const uint64_t num_pixels = uint64_t{header.width} * header.height;
  DecodedImage decoded;
  decoded.image.width = header.width;
  decoded.image.height = header.height;
  decoded.image.pixels.resize(3 * num_pixels);
  if (has_alpha) {
    std::vector<uint8_t> rgba(4 * num_pixels);
    AFTERIMAGE_RETURN_IF_PNG_ERROR(
        spng_decode_image(context, rgba.data(), rgba.size(), SPNG_FMT_RGBA8, SPNG_DECODE_TRNS));
    CompositeOverWhite(rgba.data(), num_pixels, decoded.image.pixels.data());
  } else {
    AFTERIMAGE_RETURN_IF_PNG_ERROR(spng_decode_image(context, decoded.image.pixels.data(),
                                                     decoded.image.pixels.size(), SPNG_FMT_RGB8, 0));
  }
  // Reads to IEND: a file cut short behind its pixels is refused, and an eXIf chunk may lie there.
  AFTERIMAGE_RETURN_IF_PNG_ERROR(spng_decode_chunks(context));
  if (!HasWholeEnd(encoded)) return PngStatus(SPNG_EOF);
  if (spng_exif exif; spng_get_exif(context, &exif) == 0) {
    decoded.orientation = ExifOrientation({reinterpret_cast<const uint8_t*>(exif.data), exif.length});
  }
  return decoded;
}

}  // namespace

absl::StatusOr<DecodedImage> DecodePng(ByteSpan encoded) {
  const std::unique_ptr<spng_ctx, void (*)(spng_ctx*)> context(spng_ctx_new(0), spng_ctx_free);
  if (context == nullptr) return absl::ResourceExhaustedError("no memory for a PNG decoder");
  return Decode(context.get(), encoded);
}

}  // namespace afterimage::image_internal
