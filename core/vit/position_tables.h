// Cubic resampling of grids: learned position tables, in the three ways that published models do it, and
// pixels.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace afterimage {

// Which resampling a family uses; with another grid it is part of what the features mean
// (tests/golden/position_tables).
enum class PositionResize {
  kSize,           // cubic a = -0.75, sampled at (i + 0.5) old / new - 0.5: transformers
  kSizeAntialias,  // cubic a = -0.5, support widened when shrinking, taps outside dropped: timm, open_clip
  kScaleOffset,    // as kSize with new + 0.1 in the place of new: the original DINO
};

// "cubic_size", "cubic_size_antialias", "cubic_scale_offset": as the teacher's spec says it.
const char* PositionResizeName(PositionResize resize);

// Grid [R, C, D] -> [rows, columns, D], resampled in float64 and returned in the grid's type: the same bits
// whatever the machine and the number of threads. Throws c10::Error where an extent is 0.
at::Tensor ResizeGrid(const at::Tensor& grid, int64_t rows, int64_t columns, PositionResize resize);

// Normalised pixels [B, 3, H, W] -> [B, 3, rows, columns] as the method shrinks a view for a teacher with a
// smaller input (maskalign.md section 1.2): kSize, each view by itself.
at::Tensor ResizePixels(const at::Tensor& pixels, int64_t rows, int64_t columns);

// Table [1 + g * g, D] or [1, 1 + g * g, D], class row first, to a grid of rows x columns: the class row is
// copied, the grid resampled by ResizeGrid. A table of that grid comes back
// unchanged. Throws c10::Error where the table is not square.
at::Tensor ResizePositionTable(const at::Tensor& table, int64_t rows, int64_t columns, PositionResize resize);

}  // namespace afterimage
