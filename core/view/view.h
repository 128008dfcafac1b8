// A view: the uint8 RGB crop that both networks see.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/identity/image_key.h"
#include "core/image/resize.h"
#include "core/image/rgb_image.h"
#include "core/view/view_spec.h"

namespace afterimage {

// Where a view lies in its (EXIF-oriented) image. Explicit, so that a consumer need not trust a generator.
struct ViewGeometry {
  uint32_t image_width = 0;
  uint32_t image_height = 0;
  PixelBox box;          // in image pixels; for resize-and-centre-crop: in pixels of the resized image
  bool flipped = false;  // mirrored left to right, after the resize

  bool operator==(const ViewGeometry&) const = default;
};

struct View {
  ViewGeometry geometry;
  RgbImage pixels;      // size x size
  uint64_t digest = 0;  // ViewDigest(pixels)
};

// The crop and flip of (key, spec, view seed) for an image of this size: a pure function, integers only
// (docs/views.md). An empty box, which MakeView refuses, for an empty image or a spec that is not valid.
ViewGeometry DrawViewGeometry(const ImageKey& key, const ViewSpec& spec, uint32_t view_seed,
                              uint32_t image_width, uint32_t image_height);

// Crop, resize, flip. InvalidArgument if the geometry does not fit the image. Thread-safe.
absl::StatusOr<View> MakeView(const RgbImage& image, const ViewSpec& spec, const ViewGeometry& geometry);

// XXH3-64 of the pixels, row by row.
uint64_t ViewDigest(const RgbImage& pixels);

}  // namespace afterimage
