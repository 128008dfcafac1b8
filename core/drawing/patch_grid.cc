#include "core/drawing/patch_grid.h"

#include <algorithm>
#include <cmath>

namespace afterimage {
namespace {

constexpr Color kUnknown{205, 205, 205};

}  // namespace

void ClearGrid(Canvas& canvas, const PatchGrid& grid) {
  canvas.FillRectangle(grid.x, grid.y, grid.side(), grid.side(), kUnknown);
}

void FillPatch(Canvas& canvas, const PatchGrid& grid, uint32_t patch, Color color) {
  const int row = static_cast<int>(patch) / grid.patches_per_side;
  const int column = static_cast<int>(patch) % grid.patches_per_side;
  canvas.FillRectangle(grid.x + column * grid.patch_side, grid.y + row * grid.patch_side, grid.patch_side,
                       grid.patch_side, color);
}

void DrawPatch(Canvas& canvas, const PatchGrid& grid, uint32_t patch, std::span<const uint8_t> pixels,
               uint32_t pixels_per_side) {
  const int row = static_cast<int>(patch) / grid.patches_per_side;
  const int column = static_cast<int>(patch) % grid.patches_per_side;
  const RgbImage image{pixels_per_side, pixels_per_side, {pixels.begin(), pixels.end()}};
  canvas.DrawImage(image, grid.x + column * grid.patch_side, grid.y + row * grid.patch_side,
                   grid.patch_side / static_cast<int>(pixels_per_side));
}

void ComponentColors::Add(std::span<const float> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    low_[i % 3] = std::min(low_[i % 3], rows[i]);
    high_[i % 3] = std::max(high_[i % 3], rows[i]);
  }
}

Color ComponentColors::At(std::span<const float, 3> row) const {
  std::array<uint8_t, 3> rgb;
  for (size_t c = 0; c < 3; ++c) {
    const float share = (row[c] - low_[c]) / std::max(1e-12f, high_[c] - low_[c]);
    rgb[c] = static_cast<uint8_t>(std::lround(255 * std::clamp(share, 0.0f, 1.0f)));
  }
  return {rgb[0], rgb[1], rgb[2]};
}

}  // namespace afterimage
