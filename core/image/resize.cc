#include "core/image/resize.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/image/resize_weights.h"

// The two inner loops are compiled for AVX2 as well and chosen when the program starts. They are integer
// arithmetic, so the pixels are the same. Sanitizers do not get along with the resolvers.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define AFTERIMAGE_MULTIVERSION __attribute__((target_clones("avx2", "default")))
#else
#define AFTERIMAGE_MULTIVERSION
#endif

namespace afterimage {
namespace {

using image_internal::kWeightFractionBits;
using image_internal::MakeResizeWeights;
using image_internal::ResizeWeights;

constexpr int32_t kRoundingHalf = 1 << (kWeightFractionBits - 1);
constexpr uint32_t kLanes = 4;  // a pixel in the expanded row: red, green, blue, unused
constexpr uint32_t kVerticalBlock =
    96;  // values that one run over the rows sums at once: they stay in registers and L1

// Sums of weights * pixels stay below 2^31: bicubic weights have an absolute sum below 1.3 * 2^22.
inline uint8_t ToPixel(int32_t sum) {
  const int32_t value = sum >> kWeightFractionBits;
  return static_cast<uint8_t>(std::clamp(value, 0, 255));
}

// One row: `expanded` holds 4 x int32 per input pixel.
AFTERIMAGE_MULTIVERSION
void ResampleRow(const int32_t* expanded, const ResizeWeights::Taps* taps, const int32_t* weights,
                 uint32_t stride, uint32_t count, uint8_t* target) {
  for (uint32_t i = 0; i < count; ++i, weights += stride, target += 3) {
    int32_t sums[kLanes] = {kRoundingHalf, kRoundingHalf, kRoundingHalf, kRoundingHalf};
    const int32_t* pixel = expanded + size_t{kLanes} * taps[i].begin;
    for (uint32_t tap = 0; tap < taps[i].count; ++tap, pixel += kLanes) {
      for (uint32_t lane = 0; lane < kLanes; ++lane) sums[lane] += weights[tap] * pixel[lane];
    }
    for (uint32_t c = 0; c < 3; ++c) target[c] = ToPixel(sums[c]);
  }
}

// `count` <= kVerticalBlock neighbouring values of one output row, from the same columns of the input rows.
AFTERIMAGE_MULTIVERSION
void ResampleColumns(const uint8_t* source, size_t row_bytes, const int32_t* weights, uint32_t num_taps,
                     uint32_t count, uint8_t* target) {
  int32_t sums[kVerticalBlock];
  for (uint32_t i = 0; i < count; ++i) sums[i] = kRoundingHalf;
  for (uint32_t tap = 0; tap < num_taps; ++tap, source += row_bytes) {
    const int32_t weight = weights[tap];
    for (uint32_t i = 0; i < count; ++i) sums[i] += weight * source[i];
  }
  for (uint32_t i = 0; i < count; ++i) target[i] = ToPixel(sums[i]);
}

// Resamples rows first_row .. first_row + num_rows - 1 of the box to the output columns that `weights`
// describe.
RgbImage ResampleHorizontally(const RgbImage& image, const PixelBox& box, uint32_t first_row,
                              uint32_t num_rows, const ResizeWeights& weights) {
  RgbImage result;
  result.width = static_cast<uint32_t>(weights.taps.size());
  result.height = num_rows;
  result.pixels.resize(size_t{3} * result.width * num_rows);
  std::vector<int32_t> expanded(size_t{kLanes} * box.width);
  for (uint32_t y = 0; y < num_rows; ++y) {
    const uint8_t* source = image.Row(box.y + first_row + y) + size_t{3} * box.x;
    for (uint32_t x = 0; x < box.width; ++x) {
      for (uint32_t c = 0; c < 3; ++c) expanded[kLanes * x + c] = source[3 * x + c];
    }
    ResampleRow(expanded.data(), weights.taps.data(), weights.weights.data(), weights.stride, result.width,
                result.Row(y));
  }
  return result;
}

// `image` begins at row `first_row` of the rows that the weights count.
RgbImage ResampleVertically(const RgbImage& image, uint32_t first_row, const ResizeWeights& weights) {
  RgbImage result;
  result.width = image.width;
  result.height = static_cast<uint32_t>(weights.taps.size());
  const uint32_t row_bytes = 3 * image.width;
  result.pixels.resize(size_t{row_bytes} * result.height);
  for (uint32_t y = 0; y < result.height; ++y) {
    const uint8_t* source = image.Row(weights.taps[y].begin - first_row);
    for (uint32_t offset = 0; offset < row_bytes; offset += kVerticalBlock) {
      ResampleColumns(source + offset, row_bytes, weights.Weights(y), weights.taps[y].count,
                      std::min(kVerticalBlock, row_bytes - offset), result.Row(y) + offset);
    }
  }
  return result;
}

RgbImage Copy(const RgbImage& image, const PixelBox& box) {
  RgbImage result;
  result.width = box.width;
  result.height = box.height;
  result.pixels.resize(size_t{3} * box.width * box.height);
  for (uint32_t y = 0; y < box.height; ++y) {
    std::memcpy(result.Row(y), image.Row(box.y + y) + size_t{3} * box.x, size_t{3} * box.width);
  }
  return result;
}

// image.crop(box).resize((width, height)).crop(region), computing only the region. The arguments are valid.
RgbImage Resample(const RgbImage& image, const PixelBox& box, uint32_t width, uint32_t height,
                  const PixelBox& region) {
  const bool horizontal = width != box.width;  // a pass that changes no size is skipped
  const bool vertical = height != box.height;
  ResizeWeights column_weights, row_weights;
  if (horizontal) column_weights = MakeResizeWeights(box.width, width, region.x, region.width);
  uint32_t first_row = region.y, num_rows = region.height;
  if (vertical) {
    const bool same = horizontal && box.width == box.height && width == height && region.x == region.y &&
                      region.width == region.height;
    row_weights = same ? column_weights : MakeResizeWeights(box.height, height, region.y, region.height);
    first_row = row_weights.taps.front().begin;
    num_rows = row_weights.taps.back().begin + row_weights.taps.back().count - first_row;
  }
  RgbImage result = horizontal ? ResampleHorizontally(image, box, first_row, num_rows, column_weights)
                               : Copy(image, {box.x + region.x, box.y + first_row, region.width, num_rows});
  if (vertical) result = ResampleVertically(result, first_row, row_weights);
  return result;
}

// Whether `box` is inside width x height and not empty.
bool Fits(const PixelBox& box, uint64_t width, uint64_t height) {
  return box.width > 0 && box.height > 0 && uint64_t{box.x} + box.width <= width &&
         uint64_t{box.y} + box.height <= height;
}

std::string BoxText(const PixelBox& box) {
  return absl::StrCat(box.width, " x ", box.height, " at (", box.x, ", ", box.y, ")");
}

}  // namespace

absl::StatusOr<RgbImage> CropAndResize(const RgbImage& image, const PixelBox& box, uint32_t width,
                                       uint32_t height) {
  if (!Fits(box, image.width, image.height)) {
    return absl::InvalidArgumentError(absl::StrCat("the crop box ", BoxText(box),
                                                   " is empty or not inside the ", image.width, " x ",
                                                   image.height, " image"));
  }
  if (width == 0 || height == 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot resize to ", width, " x ", height, " pixels"));
  }
  return Resample(image, box, width, height, {0, 0, width, height});
}

absl::StatusOr<RgbImage> ResizeAndCrop(const RgbImage& image, uint32_t width, uint32_t height,
                                       const PixelBox& region) {
  if (image.width == 0 || image.height == 0)
    return absl::InvalidArgumentError("cannot resize an empty image");
  if (!Fits(region, width, height)) {
    return absl::InvalidArgumentError(absl::StrCat("the region ", BoxText(region),
                                                   " is empty or not inside the ", width, " x ", height,
                                                   " resized image"));
  }
  return Resample(image, {0, 0, image.width, image.height}, width, height, region);
}

}  // namespace afterimage
