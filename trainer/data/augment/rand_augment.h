// RandAugment as timm does it, with its increasing severities.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/image/rgb_image.h"
#include "trainer/data/augment/affine.h"
#include "trainer/data/augment/augment_random.h"

namespace afterimage::trainer {

enum class AugmentOp {
  kAutoContrast,
  kEqualize,
  kInvert,
  kRotate,
  kPosterize,
  kSolarize,
  kSolarizeAdd,
  kColour,
  kContrast,
  kBrightness,
  kSharpness,
  kShearX,
  kShearY,
  kTranslateX,
  kTranslateY,
};
inline constexpr int kNumAugmentOps = 15;

// `magnitude` 0 to 10: the strength that timm's level functions (…Increasing) give to it, from nothing to 30
// degrees, 45 % of the side, 90 % of the enhancement. `negative`: the other direction, where there is one.
RgbImage ApplyAugmentOp(const RgbImage& image, AugmentOp op, double magnitude, bool negative,
                        const RgbPixel& fill);

// Of each view: `num_ops` operations, drawn with replacement, each applied with `probability` at a magnitude
// drawn from N(magnitude, deviation) and cut to 0..10; the direction by a coin (Cubuk et al. 2020; timm's
// rand_augment_transform).
struct RandAugment {
  double magnitude = 9;
  double deviation = 0.5;
  int num_ops = 2;
  double probability = 0.5;

  bool operator==(const RandAugment&) const = default;
  // `fill`: for what comes in from outside; timm takes the pixel mean.
  RgbImage Apply(RgbImage image, const RgbPixel& fill, AugmentRandom random) const;
};

// timm's text: "rand-m9-mstd0.5-inc1", with -n2 and -p0.5 where they differ. InvalidArgument: another policy
// than "rand", a key that is not known, a value out of range, or without inc1 (only the increasing severities
// are here).
absl::StatusOr<RandAugment> ParseRandAugment(absl::string_view text);

}  // namespace afterimage::trainer
