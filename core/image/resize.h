// The integer resize of design.md section 4.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/image/rgb_image.h"

namespace afterimage {

// A box of whole pixels.
struct PixelBox {
  uint32_t x = 0;
  uint32_t y = 0;
  uint32_t width = 0;
  uint32_t height = 0;

  bool operator==(const PixelBox&) const = default;
};

// The pixels of Pillow 9.5-12.3's im.crop(box).resize((width, height), BICUBIC): crop first, separable,
// antialiased, the horizontal pass first, a pass skipped where the size does not change; a = -0.5, support 2
// * max(scale, 1), weights normalised in double and rounded half away from zero to 22 fractional bits, 8-bit
// intermediate. Bit-identical everywhere. Thread-safe. InvalidArgument: an empty box, one beyond the image,
// or an empty target.
absl::StatusOr<RgbImage> CropAndResize(const RgbImage& image, const PixelBox& box, uint32_t width,
                                       uint32_t height);

// The other order: the pixels of im.resize((width, height), BICUBIC).crop(region), with `region` in pixels of
// the resized image. Only those pixels are computed. Thread-safe. InvalidArgument: an empty image, an empty
// region, or one beyond width x height.
absl::StatusOr<RgbImage> ResizeAndCrop(const RgbImage& image, uint32_t width, uint32_t height,
                                       const PixelBox& region);

// Part of the view spec; changes whenever a pixel would.
inline constexpr uint32_t kResizeVersion = 1;

}  // namespace afterimage
