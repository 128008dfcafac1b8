#include "core/view/view.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/digest.h"
#include "core/base/status_macros.h"
#include "core/view/view_geometry.h"

namespace afterimage {
namespace {

void FlipLeftToRight(RgbImage& image) {
  for (uint32_t y = 0; y < image.height; ++y) {
    uint8_t* left = image.Row(y);
    uint8_t* right = left + size_t{3} * (image.width - 1);
    for (; left < right; left += 3, right -= 3) std::swap_ranges(left, left + 3, right);
  }
}

absl::StatusOr<RgbImage> MakePixels(const RgbImage& image, const ViewSpec& spec, const PixelBox& box) {
  if (spec.crop == ViewSpec::Crop::kRandomResizedCrop) return CropAndResize(image, box, spec.size, spec.size);
  if (box.width != spec.size || box.height != spec.size) {
    return absl::InvalidArgumentError(absl::StrCat("a centre crop of ", box.width, " x ", box.height,
                                                   " pixels where the view spec says ", spec.size));
  }
  const auto resized = view_internal::SizeBeforeCenterCrop(spec.resize_shorter, image.width, image.height);
  return ResizeAndCrop(image, resized.width, resized.height, box);
}

}  // namespace

absl::StatusOr<View> MakeView(const RgbImage& image, const ViewSpec& spec, const ViewGeometry& geometry) {
  AFTERIMAGE_RETURN_IF_ERROR(spec.Validate());
  if (image.width == 0 || image.height == 0)
    return absl::InvalidArgumentError("cannot make a view of an empty image");
  if (image.width != geometry.image_width || image.height != geometry.image_height) {
    return absl::InvalidArgumentError(
        absl::StrCat("the view's geometry is for an image of ", geometry.image_width, " x ",
                     geometry.image_height, " pixels, this one has ", image.width, " x ", image.height));
  }
  View view;
  view.geometry = geometry;
  AFTERIMAGE_ASSIGN_OR_RETURN(view.pixels, MakePixels(image, spec, geometry.box));
  if (geometry.flipped) FlipLeftToRight(view.pixels);
  view.digest = ViewDigest(view.pixels);
  return view;
}

uint64_t ViewDigest(const RgbImage& pixels) { return Xxh3_64(pixels.pixels); }

}  // namespace afterimage
