// Which patches a student sees.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/identity/canonical_spec.h"
#include "core/identity/image_key.h"

namespace afterimage {

// How masks are drawn (maskalign.md section 1.4).
struct MaskSpec {
  enum class Type { kAttention, kRandom };

  Type type = Type::kAttention;
  uint32_t num_visible = 58;  // patches kept, the class token not counted
  uint32_t mask_seed = 0;
  uint32_t num_masks = 1;  // M: masks per view

  bool operator==(const MaskSpec&) const = default;
  Json ToCanonical() const;
  static absl::StatusOr<MaskSpec> FromCanonical(const Json& json);
};

// n_visible = int(num_patches * (1 - mask_ratio)), truncated in float64 as the reference does: 196 at 0.7
// -> 58.
uint32_t NumVisible(uint32_t num_patches, double mask_ratio);

// The visible patches (0-based, row by row, the class token not counted) of one mask, in the order drawn: the
// exponential race without replacement, zero weights last. A pure function of (mask seed, image key, view
// seed, mask index, importance); integers only after the weights are read, so that it is bit-identical
// everywhere. `importance`: one weight >= 0 per patch (its size is the number of patches, also for kRandom,
// which ignores the values). InvalidArgument: num_visible of 0 or above the number of patches, a negative,
// NaN or infinite weight.
absl::StatusOr<std::vector<uint16_t>> DrawMask(const MaskSpec& spec, const ImageKey& key, uint32_t view_seed,
                                               uint32_t mask_index, std::span<const float> importance);

}  // namespace afterimage
