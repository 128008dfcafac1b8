#include "client/cli/contact_sheet.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/analysis/pca.h"
#include "core/base/status_macros.h"
#include "core/drawing/canvas.h"

namespace afterimage::cli {
namespace {

constexpr int kMargin = 8;
constexpr int kHeader = 22;
constexpr int kTitle = 14;
constexpr Color kNotStored{205, 205, 205};
constexpr Color kInk{40, 40, 40};
constexpr std::array<const char*, 4> kColumns{"view", "importance", "visible", "features (PCA)"};

const LevelFeatures* FindLevel(const FeatureRecord& record, uint32_t level) {
  for (const LevelFeatures& features : record.levels) {
    if (features.level == level) return &features;
  }
  return nullptr;
}

// Paints one patch-sized square of a cell.
void FillPatch(Canvas& canvas, int x, int y, int side, uint32_t grid, uint32_t patch, Color color) {
  canvas.FillRectangle(x + static_cast<int>(patch % grid) * side, y + static_cast<int>(patch / grid) * side, side, side, color);
}

RgbImage PatchImage(const FeatureRecord& record, size_t row) {
  const uint32_t p = record.patch_size();
  const auto begin = record.pixels.begin() + static_cast<ptrdiff_t>(row * p * p * 3);
  return {p, p, {begin, begin + p * p * 3}};
}

// The stored patches of a view, `wanted` ones only if any are named.
void DrawPatches(Canvas& canvas, const FeatureRecord& record, const std::vector<uint16_t>* wanted, int x, int y, int scale) {
  const int side = static_cast<int>(record.patch_size()) * scale;
  canvas.FillRectangle(x, y, side * static_cast<int>(record.grid), side * static_cast<int>(record.grid), kNotStored);
  for (size_t row = 1; row < record.tokens.size(); ++row) {
    const uint16_t patch = record.tokens[row] - 1;
    if (wanted != nullptr && std::find(wanted->begin(), wanted->end(), patch) == wanted->end()) continue;
    canvas.DrawImage(PatchImage(record, row - 1), x + static_cast<int>(patch % record.grid) * side,
                     y + static_cast<int>(patch / record.grid) * side, scale);
  }
}

void DrawImportance(Canvas& canvas, const FeatureRecord& record, int x, int y, int side) {
  const auto [low, high] = std::minmax_element(record.importance.begin(), record.importance.end());
  const double range = std::max(1e-12, static_cast<double>(*high) - *low);
  for (uint32_t patch = 0; patch < record.importance.size(); ++patch) {
    FillPatch(canvas, x, y, side, record.grid, patch, HeatColor((record.importance[patch] - *low) / range));
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
  std::array<float, kComponents> low, high;
  low.fill(INFINITY);
  high.fill(-INFINITY);
  for (const SheetEntry& entry : entries) {
    projected.push_back(Project(pca, std::span(FindLevel(entry.record, level)->values).subspan(width)));
    for (size_t i = 0; i < projected.back().size(); ++i) {
      low[i % kComponents] = std::min(low[i % kComponents], projected.back()[i]);
      high[i % kComponents] = std::max(high[i % kComponents], projected.back()[i]);
    }
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
    auto x = [&](int column) { return kMargin + column * (side + kMargin); };
    DrawPatches(canvas, record, nullptr, x(0), y, scale);
    DrawImportance(canvas, record, x(1), y, patch_side);
    DrawPatches(canvas, record, &entries[i].visible_patches, x(2), y, scale);
    canvas.FillRectangle(x(3), y, side, side, kNotStored);
    for (size_t row = 1; row < record.tokens.size(); ++row) {
      std::array<uint8_t, kComponents> rgb;
      for (uint32_t c = 0; c < kComponents; ++c) {
        const float value = projected[i][(row - 1) * kComponents + c];
        rgb[c] = static_cast<uint8_t>(std::lround(255 * (value - low[c]) / std::max(1e-12f, high[c] - low[c])));
      }
      FillPatch(canvas, x(3), y, patch_side, record.grid, record.tokens[row] - 1, {rgb[0], rgb[1], rgb[2]});
    }
    canvas.DrawText(entries[i].title, x(0), y + side + 3, kInk);
  }
  return canvas.image();
}

}  // namespace afterimage::cli
