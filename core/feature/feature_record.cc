#include "core/feature/feature_record.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace afterimage {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "afterimage: broken invariant: %s\n", what);
  std::abort();
}

// Calls copy(pixel row inside the view in bytes, row inside the patch-major bytes, number of bytes) for each
// run.
template <typename Copy>
void ForEachPatchRun(uint32_t grid, uint32_t patch_size, const Copy& copy) {
  const size_t run = size_t{3} * patch_size;
  const size_t view_row = run * grid;
  size_t patch_major = 0;
  for (uint32_t row = 0; row < grid; ++row) {
    for (uint32_t column = 0; column < grid; ++column) {
      for (uint32_t y = 0; y < patch_size; ++y, patch_major += run) {
        copy((size_t{row} * patch_size + y) * view_row + column * run, patch_major, run);
      }
    }
  }
}

}  // namespace

std::vector<uint8_t> ToPatchMajor(const RgbImage& view, uint32_t grid) {
  Require(grid > 0 && view.width == view.height && view.width % grid == 0,
          "a view's side is a multiple of the grid");
  Require(view.pixels.size() == size_t{3} * view.width * view.height, "a view holds 3 bytes per pixel");
  std::vector<uint8_t> rows(view.pixels.size());
  ForEachPatchRun(grid, view.width / grid, [&](size_t in_view, size_t in_rows, size_t run) {
    std::copy_n(view.pixels.begin() + in_view, run, rows.begin() + in_rows);
  });
  return rows;
}

RgbImage FromPatchMajor(const std::vector<uint8_t>& rows, uint32_t grid, uint32_t patch_size) {
  RgbImage view;
  view.width = grid * patch_size;
  view.height = view.width;
  view.pixels.resize(size_t{3} * view.width * view.height);
  Require(rows.size() == view.pixels.size(), "patch-major rows hold all patches of a view");
  ForEachPatchRun(grid, patch_size, [&](size_t in_view, size_t in_rows, size_t run) {
    std::copy_n(rows.begin() + in_rows, run, view.pixels.begin() + in_view);
  });
  return view;
}

FeatureRecord KeepVisible(const FeatureRecord& all, std::vector<std::vector<uint16_t>> masks) {
  const size_t num_patches = size_t{all.grid} * all.grid;
  Require(all.tokens.size() == num_patches + 1, "KeepVisible needs a record of all tokens");
  std::vector<bool> kept(num_patches + 1, false);
  kept[0] = true;
  for (const std::vector<uint16_t>& mask : masks) {
    for (const uint16_t patch : mask) {
      Require(patch < num_patches, "a mask holds patches of the record");
      kept[size_t{patch} + 1] = true;
    }
  }

  FeatureRecord visible;
  visible.geometry = all.geometry;
  visible.view_digest = all.view_digest;
  visible.view_size = all.view_size;
  visible.grid = all.grid;
  visible.importance = all.importance;
  visible.masks = std::move(masks);
  for (size_t token = 0; token <= num_patches; ++token) {
    if (kept[token]) visible.tokens.push_back(static_cast<uint16_t>(token));
  }
  for (const LevelFeatures& level : all.levels) {
    LevelFeatures& target = visible.levels.emplace_back();
    target.level = level.level;
    target.width = level.width;
    target.values.reserve(visible.tokens.size() * level.width);
    for (const uint16_t token : visible.tokens) {
      const auto row = level.values.begin() + static_cast<ptrdiff_t>(size_t{token} * level.width);
      target.values.insert(target.values.end(), row, row + level.width);
      target.mean.push_back(level.mean[token]);
      target.inverse_deviation.push_back(level.inverse_deviation[token]);
    }
  }
  if (!all.pixels.empty()) {
    const size_t patch_bytes = size_t{3} * all.patch_size() * all.patch_size();
    visible.pixels.reserve((visible.tokens.size() - 1) * patch_bytes);
    for (const uint16_t token : visible.tokens) {
      if (token == 0) continue;
      const auto patch = all.pixels.begin() + static_cast<ptrdiff_t>((size_t{token} - 1) * patch_bytes);
      visible.pixels.insert(visible.pixels.end(), patch, patch + static_cast<ptrdiff_t>(patch_bytes));
    }
  }
  return visible;
}

}  // namespace afterimage
