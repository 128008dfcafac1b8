// The decoders behind DecodeImage, one per format. Private to this room.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/image/rgb_image.h"

namespace afterimage::image_internal {

// Each takes a file of its kind (recognised by its first bytes) and returns the pixels as they are stored,
// together with the EXIF orientation, which DecodeImage applies. InvalidArgument as DecodeImage.
struct DecodedImage {
  RgbImage image;
  int orientation = 1;  // EXIF 1-8
};

absl::StatusOr<DecodedImage> DecodeJpeg(ByteSpan encoded);
absl::StatusOr<DecodedImage> DecodePng(ByteSpan encoded);
absl::StatusOr<DecodedImage> DecodeWebp(ByteSpan encoded);
absl::StatusOr<DecodedImage> DecodePnm(ByteSpan encoded);

// InvalidArgument unless both sides are in 1..kMaxImageSide and their product is at most kMaxImagePixels. To
// be called before anything is allocated.
absl::Status CheckImageSize(uint64_t width, uint64_t height);

// Composites RGBA over white into RGB, rounding to nearest.
void CompositeOverWhite(const uint8_t* rgba, uint64_t num_pixels, uint8_t* rgb);

}  // namespace afterimage::image_internal
