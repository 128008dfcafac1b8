#include <webp/decode.h>

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/image/decoders.h"
#include "core/image/exif.h"

namespace afterimage::image_internal {
namespace {

constexpr size_t kRiffHeaderBytes = 12;  // "RIFF", size 4, "WEBP"
constexpr size_t kChunkHeaderBytes = 8;  // name 4, size 4

// The orientation in the EXIF chunk of the RIFF container; 1 without one.
int OrientationOf(ByteSpan encoded) {
  size_t offset = kRiffHeaderBytes;
  while (encoded.size() - offset >= kChunkHeaderBytes) {
    const size_t length = LoadLittleEndian<uint32_t>(encoded.data() + offset + 4);
    const size_t payload = offset + kChunkHeaderBytes;
    if (length > encoded.size() - payload) return 1;
    if (std::memcmp(encoded.data() + offset, "EXIF", 4) == 0)
      return ExifOrientation(encoded.subspan(payload, length));
    offset = payload + length;
    if (length % 2 == 1 && offset < encoded.size()) ++offset;  // chunks are padded to even lengths
  }
  return 1;
}

absl::Status Corrupt() { return absl::InvalidArgumentError("truncated or corrupt WebP"); }

}  // namespace

absl::StatusOr<DecodedImage> DecodeWebp(ByteSpan encoded) {
  // The decoder takes a file that lacks only trailing chunks; the container's own length shows that it was
  // cut.
  if (LoadLittleEndian<uint32_t>(encoded.data() + 4) > encoded.size() - 8) return Corrupt();
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(encoded.data(), encoded.size(), &features) != VP8_STATUS_OK) return Corrupt();
  if (features.has_animation) {
    return absl::InvalidArgumentError("an animated WebP has no single picture: extract the frames");
  }
  if (features.width <= 0 || features.height <= 0) return Corrupt();
  AFTERIMAGE_RETURN_IF_ERROR(CheckImageSize(features.width, features.height));

  const uint64_t num_pixels = uint64_t(features.width) * features.height;
  DecodedImage decoded;
  decoded.image.width = features.width;
  decoded.image.height = features.height;
  decoded.image.pixels.resize(3 * num_pixels);
  if (features.has_alpha) {
    std::vector<uint8_t> rgba(4 * num_pixels);
    if (!WebPDecodeRGBAInto(encoded.data(), encoded.size(), rgba.data(), rgba.size(), 4 * features.width)) {
      return Corrupt();
    }
    CompositeOverWhite(rgba.data(), num_pixels, decoded.image.pixels.data());
  } else if (!WebPDecodeRGBInto(encoded.data(), encoded.size(), decoded.image.pixels.data(),
                                decoded.image.pixels.size(), 3 * features.width)) {
    return Corrupt();
  }
  decoded.orientation = OrientationOf(encoded);
  return decoded;
}

}  // namespace afterimage::image_internal
