// One record, decoded: what a teacher saw in one view.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/identity/image_key.h"
#include "core/view/view.h"

namespace afterimage {

// One level of a record: the affine-free LayerNorm of each stored token, and what undoes it.
// raw = values / inverse_deviation + mean.
struct LevelFeatures {
  uint32_t level = 0;                    // 1-based teacher level
  uint32_t width = 0;                    // channels
  std::vector<float> values;             // rows x width, row = token
  std::vector<float> mean;               // one per row
  std::vector<float> inverse_deviation;  // one per row
};

// Tokens are numbered as the teacher has them: 0 is the class token, patch i is token i + 1, row by row.
struct FeatureRecord {
  ViewGeometry geometry;
  uint64_t view_digest = 0;
  uint32_t view_size = 0;         // side of the view, pixels
  uint32_t grid = 0;              // patches per side
  std::vector<float> importance;  // grid * grid, of all patches whatever is stored
  std::vector<uint16_t> tokens;   // stored tokens, ascending; always starts with 0, the class token
  std::vector<std::vector<uint16_t>>
      masks;                          // `visible` only: per mask its patches in drawn order; all in `tokens`
  std::vector<LevelFeatures> levels;  // ascending by level; every one has tokens.size() rows
  std::vector<uint8_t> pixels;        // patch-major rows of the stored patches (tokens without 0), each p*p*3
                                      // bytes (p = view_size / grid), row by row inside; empty without pixels

  uint32_t num_tokens() const { return static_cast<uint32_t>(tokens.size()); }
  uint32_t patch_size() const { return grid == 0 ? 0 : view_size / grid; }
};

// A view's pixels in patch-major rows: patch (r, c) is row r * grid + c, p * p * 3 bytes. `view_size` must be
// a multiple of `grid` (a broken invariant of ours ends the process).
std::vector<uint8_t> ToPatchMajor(const RgbImage& view, uint32_t grid);
// The inverse, for pictures and for checking the view digest.
RgbImage FromPatchMajor(const std::vector<uint8_t>& rows, uint32_t grid, uint32_t patch_size);

// Keeps only the class token and the union of the masks' patches: what the `visible` policy stores.
// The record must hold all tokens.
FeatureRecord KeepVisible(const FeatureRecord& all, std::vector<std::vector<uint16_t>> masks);

}  // namespace afterimage
