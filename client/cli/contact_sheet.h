// A picture of records: views, importance, visible patches, and the principal components of their features.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/feature/feature_record.h"
#include "core/image/rgb_image.h"

namespace afterimage::cli {

struct SheetEntry {
  std::string title;                       // e.g. first digits of the key and the view seed
  FeatureRecord record;                    // with pixels
  std::vector<uint16_t> visible_patches;   // the mask to show
};

// One row per entry, four cells each: the view, its importance map, the visible patches, and the PCA of the level's patch tokens as
// RGB (one PCA over all entries, each component stretched to its range). Patches that are not stored stay grey. `cell` is the side of a
// cell in pixels, rounded to a multiple of the view's side. InvalidArgument: no entries, records without pixels, or without the level.
absl::StatusOr<RgbImage> DrawContactSheet(const std::vector<SheetEntry>& entries, uint32_t level, uint32_t cell = 112);

}  // namespace afterimage::cli
