#include "core/view/view_geometry.h"

#include <algorithm>
#include <numeric>

#include "core/view/fixed_point.h"
#include "core/view/philox.h"
#include "core/view/view.h"

namespace afterimage {
namespace view_internal {

uint64_t IntegerSqrt(unsigned __int128 value) {
  uint64_t root = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const uint64_t candidate = root | uint64_t{1} << bit;
    if (static_cast<unsigned __int128>(candidate) * candidate <= value) root = candidate;
  }
  return root;
}

Ratio Reduced(Ratio ratio) {
  const uint32_t divisor = std::gcd(ratio.numerator, ratio.denominator);
  if (divisor == 0) return ratio;
  return {ratio.numerator / divisor, ratio.denominator / divisor};
}

ImageSize SizeBeforeCenterCrop(uint32_t resize_shorter, uint32_t width, uint32_t height) {
  const auto scaled = [&](uint32_t longer, uint32_t shorter) {
    return static_cast<uint32_t>(uint64_t{resize_shorter} * longer / shorter);
  };
  if (width <= height) return {resize_shorter, scaled(height, width)};
  return {scaled(width, height), resize_shorter};
}

}  // namespace view_internal

namespace {

using Int128 = __int128;
using UInt128 = unsigned __int128;
using view_internal::IntegerSqrt;
using view_internal::Reduced;

constexpr int kNumTries = 10;      // as torchvision
constexpr int kAreaFraction = 16;  // fractional bits of an area in pixels
constexpr int kRootFraction = 24;  // of a side: (16 + 32) / 2, the area's and the aspect ratio's

// `ratio` of `area` pixels, with kAreaFraction bits, rounded down.
uint64_t ScaledArea(uint64_t area, Ratio ratio) {
  return static_cast<uint64_t>((UInt128{area} << kAreaFraction) * ratio.numerator / ratio.denominator);
}

int64_t Log2(Ratio ratio) { return FixedLog2(ratio.numerator) - FixedLog2(ratio.denominator); }

// low + (high - low) * word / 2^32, rounded down.
int64_t Between(int64_t low, int64_t high, uint32_t word) {
  return low + static_cast<int64_t>(Int128{high - low} * word >> 32);
}

// The square root of a number with 2 * kRootFraction fractional bits, to the nearest integer.
uint64_t RoundedSqrt(UInt128 value) {
  return (IntegerSqrt(value) + (uint64_t{1} << (kRootFraction - 1))) >> kRootFraction;
}

// value * numerator / denominator, to the nearest integer, half up.
uint32_t RoundedProduct(uint32_t value, uint32_t numerator, uint32_t denominator) {
  return static_cast<uint32_t>((2 * UInt128{value} * numerator + denominator) / (2 * UInt128{denominator}));
}

// The largest centred box whose aspect ratio is allowed.
PixelBox CenterBox(const ViewSpec& spec, uint32_t width, uint32_t height) {
  const auto is_below = [&](Ratio ratio) {
    return UInt128{width} * ratio.denominator < UInt128{height} * ratio.numerator;
  };
  const auto is_above = [&](Ratio ratio) {
    return UInt128{width} * ratio.denominator > UInt128{height} * ratio.numerator;
  };
  PixelBox box{0, 0, width, height};
  if (is_below(spec.min_aspect)) {
    box.height = RoundedProduct(width, spec.min_aspect.denominator, spec.min_aspect.numerator);
  } else if (is_above(spec.max_aspect)) {
    box.width = RoundedProduct(height, spec.max_aspect.numerator, spec.max_aspect.denominator);
  }
  box.height = std::clamp<uint32_t>(box.height, 1, height);
  box.width = std::clamp<uint32_t>(box.width, 1, width);
  box.x = (width - box.width) / 2;
  box.y = (height - box.height) / 2;
  return box;
}

PixelBox DrawRandomResizedCrop(const ImageKey& key, const ViewSpec& spec, uint32_t view_seed, uint32_t width,
                               uint32_t height) {
  const uint64_t area = uint64_t{width} * height;
  const auto min_area = static_cast<int64_t>(ScaledArea(area, spec.min_area));
  const auto max_area = static_cast<int64_t>(ScaledArea(area, spec.max_area));
  const int64_t min_log = Log2(spec.min_aspect), max_log = Log2(spec.max_aspect);
  ViewRandom random(key, view_seed, RandomPurpose::kCrop);
  for (int i = 0; i < kNumTries; ++i) {
    const auto target = static_cast<UInt128>(Between(min_area, max_area, random.Next32()));
    const uint64_t aspect = FixedExp2(Between(min_log, max_log, random.Next32()));
    const uint64_t crop_width = RoundedSqrt(target * aspect);           // 16 + 32 fractional bits
    const uint64_t crop_height = RoundedSqrt((target << 64) / aspect);  // 16 + 64 - 32
    if (crop_width == 0 || crop_height == 0 || crop_width > width || crop_height > height) continue;
    PixelBox box{0, 0, static_cast<uint32_t>(crop_width), static_cast<uint32_t>(crop_height)};
    box.x = random.NextBelow(width - box.width + 1);
    box.y = random.NextBelow(height - box.height + 1);
    return box;
  }
  return CenterBox(spec, width, height);
}

// The offset of the centre crop, half to even as Python's round (torchvision).
uint32_t CenterOffset(uint32_t margin) {
  const uint32_t half = margin / 2;
  return margin % 2 == 0 ? half : half + half % 2;
}

}  // namespace

ViewGeometry DrawViewGeometry(const ImageKey& key, const ViewSpec& spec, uint32_t view_seed,
                              uint32_t image_width, uint32_t image_height) {
  ViewGeometry geometry;
  geometry.image_width = image_width;
  geometry.image_height = image_height;
  if (image_width == 0 || image_height == 0 || !spec.Validate().ok()) return geometry;
  if (spec.crop == ViewSpec::Crop::kResizeCenterCrop) {
    const auto resized = view_internal::SizeBeforeCenterCrop(spec.resize_shorter, image_width, image_height);
    geometry.box = {CenterOffset(resized.width - spec.size), CenterOffset(resized.height - spec.size),
                    spec.size, spec.size};
    return geometry;
  }
  geometry.box = DrawRandomResizedCrop(key, spec, view_seed, image_width, image_height);
  const Ratio flip = Reduced(spec.flip_probability);
  geometry.flipped =
      ViewRandom(key, view_seed, RandomPurpose::kFlip).NextBelow(flip.denominator) < flip.numerator;
  return geometry;
}

}  // namespace afterimage
