// Encoded image files -> RGB.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/image/rgb_image.h"

namespace afterimage {

// How a file becomes pixels; part of the view spec. Version 1 is the only one: JPEG with the accurate integer
// DCT and plain ("fancy") chroma upsampling, EXIF orientation applied (of PNG and WebP too), grey converted
// to RGB, CMYK too (inverted, as Adobe and Pillow take it), 16-bit PNG reduced to 8 by dropping the low byte,
// alpha composited over white, colour profiles ignored.
inline constexpr uint32_t kDecodePolicyVersion = 1;

// The longest side, and the most pixels, accepted: 0.8 GB decoded, four times what a professional camera
// takes.
inline constexpr uint32_t kMaxImageSide = 65500;
inline constexpr uint64_t kMaxImagePixels = uint64_t{1} << 28;

// Decodes JPEG, PNG, WebP and binary PGM/PPM (maxval 255), told apart by their first bytes. Thread-safe.
// InvalidArgument: not an image of these kinds, truncated or corrupt (the reason is in the text), too large.
// A JPEG that is truncated, or that libjpeg warns about, is refused, not filled with grey; only warnings that
// leave every pixel as written (padding before the end marker) are let pass. Sizes are checked before any
// allocation.
absl::StatusOr<RgbImage> DecodeImage(ByteSpan encoded);

}  // namespace afterimage
