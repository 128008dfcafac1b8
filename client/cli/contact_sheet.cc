#include "client/cli/contact_sheet.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/analysis/pca.h"
#include "core/base/status_macros.h"
#include "core/drawing/canvas.h"
#include "core/drawing/patch_grid.h"

namespace afterimage::cli {
namespace {

constexpr int kMargin = 8;
constexpr int kHeader = 22;
constexpr int kTitle = 14;
constexpr Color kInk{40, 40, 40};
constexpr std::array<const char*, 4> kColumns{"view", "importance", "visible", "features (PCA)"};

const LevelFeatures* FindLevel(const FeatureRecord& record, uint32_t level) {
  for (const LevelFeatures& features : record.levels) {
    if (features.level == level) return &features;
  }
  return nullptr;
}

// The stored patches of a view, `wanted` ones only if any are named.
void DrawPatches(Canvas& canvas, const PatchGrid& grid, const FeatureRecord& record, const std::vector<uint16_t>* wanted) {
  const uint32_t p = record.patch_size();
  const size_t patch_bytes = size_t{3} * p * p;
  ClearGrid(canvas, grid);
  for (size_t row = 1; row < record.tokens.size(); ++row) {
    const uint16_t patch = record.tokens[row] - 1;
    if (wanted != nullptr && std::find(wanted->begin(), wanted->end(), patch) == wanted->end()) continue;
    DrawPatch(canvas, grid, patch, std::span(record.pixels).subspan((row - 1) * patch_bytes, patch_bytes), p);
  }
}

void DrawImportance(Canvas& canvas, const PatchGrid& grid, const FeatureRecord& record) {
  const auto [low, high] = std::minmax_element(record.importance.begin(), record.importance.end());
  const double range = std::max(1e-12, static_cast<double>(*high) - *low);
  for (uint32_t patch = 0; patch < record.importance.size(); ++patch) {
    FillPatch(canvas, grid, patch, HeatColor((record.importance[patch] - *low) / range));
  }
}

}  // namespace

absl::StatusOr<RgbImage> DrawContactSheet(const std::vector<SheetEntry>& entries, uint32_t level, uint32_t cell) {
  if (entries.empty()) return absl::InvalidArgumentError("there is no record to draw");
  const FeatureRecord& first = entries.front().record;
  const LevelFeatures* first_level = FindLevel(first, level);
  if (first_level == nullptr) return absl::InvalidArgumentError(absl::StrCat("level ", level, " is not stored in this set"));
  const uint32_t width = first_level->width;

  // One PCA over the patch tokens of all entries, so that equal colours mean equal directions.
  PcaAccumulator accumulator(width);
  for (const SheetEntry& entry : entries) {
    const LevelFeatures* features = FindLevel(entry.record, level);
    if (features == nullptr || features->width != width || entry.record.pixels.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(entry.title, ": no pixels, or another geometry"));
    }
    accumulator.Add(std::span(features->values).subspan(width));
  }
  constexpr uint32_t kComponents = 3;
  AFTERIMAGE_ASSIGN_OR_RETURN(const Pca pca, accumulator.Finish(kComponents));
  std::vector<std::vector<float>> projected;
  ComponentColors colors;
  for (const SheetEntry& entry : entries) {
    projected.push_back(Project(pca, std::span(FindLevel(entry.record, level)->values).subspan(width)));
    colors.Add(projected.back());
  }

  const int scale = std::max(1, static_cast<int>(std::lround(static_cast<double>(cell) / first.view_size)));
  const int side = static_cast<int>(first.view_size) * scale;
  const int patch_side = static_cast<int>(first.patch_size()) * scale;
  const int row_height = side + kTitle + kMargin;
  Canvas canvas(static_cast<uint32_t>(kColumns.size()) * (side + kMargin) + kMargin,
                kHeader + static_cast<uint32_t>(entries.size()) * row_height);
  for (size_t column = 0; column < kColumns.size(); ++column) {
    canvas.DrawText(kColumns[column], kMargin + static_cast<int>(column) * (side + kMargin), 7, kInk);
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    const FeatureRecord& record = entries[i].record;
    const int y = kHeader + static_cast<int>(i) * row_height;
    const auto cell_of = [&](int column) {
      return PatchGrid{.x = kMargin + column * (side + kMargin),
                       .y = y,
                       .patches_per_side = static_cast<int>(record.grid),
                       .patch_side = patch_side};
    };
    DrawPatches(canvas, cell_of(0), record, nullptr);
    DrawImportance(canvas, cell_of(1), record);
    DrawPatches(canvas, cell_of(2), record, &entries[i].visible_patches);
    ClearGrid(canvas, cell_of(3));
    for (size_t row = 1; row < record.tokens.size(); ++row) {
      FillPatch(canvas, cell_of(3), record.tokens[row] - 1,
                colors.At(std::span<const float, kComponents>(&projected[i][(row - 1) * kComponents], kComponents)));
    }
    canvas.DrawText(entries[i].title, kMargin, y + side + 3, kInk);
  }
  return canvas.image();
}

}  // namespace afterimage::cli
