#include "core/image/decode.h"

#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/digest.h"
#include "core/base/status_macros.h"
#include "core/image/decoders.h"
#include "core/image/exif.h"

namespace afterimage {
namespace image_internal {

absl::Status CheckImageSize(uint64_t width, uint64_t height) {
  if (width == 0 || height == 0) {
    return absl::InvalidArgumentError(absl::StrCat("the image is empty: ", width, " x ", height, " pixels"));
  }
  if (width > kMaxImageSide || height > kMaxImageSide || width * height > kMaxImagePixels) {
    return absl::InvalidArgumentError(absl::StrCat("the image is too large: ", width, " x ", height,
                                                   " pixels, at most ", kMaxImageSide, " a side and ",
                                                   kMaxImagePixels, " in all are accepted"));
  }
  return absl::OkStatus();
}

void CompositeOverWhite(const uint8_t* rgba, uint64_t num_pixels, uint8_t* rgb) {
  for (uint64_t i = 0; i < num_pixels; ++i, rgba += 4, rgb += 3) {
    const uint32_t alpha = rgba[3];
    for (int c = 0; c < 3; ++c) {
      // (v + 128 + ((v + 128) >> 8)) >> 8 is v / 255 rounded to nearest, for every v up to 255 * 255.
      const uint32_t v = rgba[c] * alpha + 255 * (255 - alpha) + 128;
      rgb[c] = static_cast<uint8_t>((v + (v >> 8)) >> 8);
    }
  }
}

}  // namespace image_internal

namespace {

bool StartsWith(ByteSpan bytes, const char* prefix, size_t length) {
  return bytes.size() >= length && std::memcmp(bytes.data(), prefix, length) == 0;
}

// What people put into image folders that is none of our formats, so that the message can name it.
std::string GuessOtherFormat(ByteSpan encoded) {
  struct Known {
    const char* prefix;
    size_t length;
    const char* name;
  };
  static constexpr std::array<Known, 8> kKnown = {{{"GIF8", 4, "GIF"},
                                                   {"BM", 2, "BMP"},
                                                   {"II*\0", 4, "TIFF"},
                                                   {"MM\0*", 4, "TIFF"},
                                                   {"\x1f\x8b", 2, "gzip"},
                                                   {"<", 1, "HTML, XML or SVG"},
                                                   {"PK\x03\x04", 4, "ZIP"},
                                                   {"%PDF", 4, "PDF"}}};
  for (const Known& known : kKnown) {
    if (StartsWith(encoded, known.prefix, known.length)) return absl::StrCat("it looks like ", known.name);
  }
  if (encoded.size() >= 12 && std::memcmp(encoded.data() + 4, "ftyp", 4) == 0)
    return "it looks like AVIF or HEIC";
  return absl::StrCat("it begins with the bytes ",
                      HexEncode(encoded.first(std::min<size_t>(encoded.size(), 8))));
}

absl::StatusOr<image_internal::DecodedImage> DecodeStored(ByteSpan encoded) {
  using namespace image_internal;  // NOLINT: the four decoders
  if (encoded.empty()) return absl::InvalidArgumentError("the image file is empty");
  if (StartsWith(encoded, "\xff\xd8", 2)) return DecodeJpeg(encoded);
  if (StartsWith(encoded, "\x89PNG\r\n\x1a\n", 8)) return DecodePng(encoded);
  if (StartsWith(encoded, "RIFF", 4) && encoded.size() >= 12 &&
      std::memcmp(encoded.data() + 8, "WEBP", 4) == 0) {
    return DecodeWebp(encoded);
  }
  if (StartsWith(encoded, "P5", 2) || StartsWith(encoded, "P6", 2)) return DecodePnm(encoded);
  return absl::InvalidArgumentError(
      absl::StrCat("not a JPEG, PNG, WebP or binary PGM/PPM file: ", GuessOtherFormat(encoded)));
}

}  // namespace

absl::StatusOr<RgbImage> DecodeImage(ByteSpan encoded) {
  AFTERIMAGE_ASSIGN_OR_RETURN(image_internal::DecodedImage decoded, DecodeStored(encoded));
  return image_internal::ApplyOrientation(std::move(decoded.image), decoded.orientation);
}

}  // namespace afterimage
