// A view cut into patches, as a cell of a picture.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>

#include "core/drawing/canvas.h"

namespace afterimage {

// Where a grid of patches stands on a canvas. Patches are numbered row by row.
struct PatchGrid {
  int x = 0, y = 0;  // of its top left corner
  int patches_per_side = 0;
  int patch_side = 0;  // pixels of the canvas

  int side() const { return patches_per_side * patch_side; }
};

// Grey throughout: nothing is known of any patch.
void ClearGrid(Canvas& canvas, const PatchGrid& grid);
void FillPatch(Canvas& canvas, const PatchGrid& grid, uint32_t patch, Color color);
// `pixels` are the patch's own p x p x 3, where p divides the grid's patch_side; they are enlarged to it.
void DrawPatch(Canvas& canvas, const PatchGrid& grid, uint32_t patch, std::span<const uint8_t> pixels,
               uint32_t pixels_per_side);

// Three components as red, green and blue, each stretched to the range that it has in all that was added. Not
// thread-safe.
class ComponentColors {
 public:
  // Rows of three.
  void Add(std::span<const float> rows);
  // What is outside the range gets its nearest end.
  Color At(std::span<const float, 3> row) const;

 private:
  static constexpr float kMost = std::numeric_limits<float>::infinity();
  std::array<float, 3> low_{kMost, kMost, kMost};
  std::array<float, 3> high_{-kMost, -kMost, -kMost};
};

}  // namespace afterimage
