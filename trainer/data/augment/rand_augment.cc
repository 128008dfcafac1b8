#include "trainer/data/augment/rand_augment.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"
#include "trainer/data/augment/colour_ops.h"

namespace afterimage::trainer {
namespace {

constexpr double kMaxMagnitude = 10;  // timm's _LEVEL_DENOM

RgbImage InPlace(RgbImage image, void (*op)(RgbImage&)) {
  op(image);
  return image;
}

template <typename Argument>
RgbImage InPlace(RgbImage image, void (*op)(RgbImage&, Argument), Argument argument) {
  op(image, argument);
  return image;
}

// 1 changes nothing; timm's _enhance_increasing_level_to_arg.
float EnhanceFactor(double share, bool negative) {
  constexpr double kRange = 0.9, kLeast = 0.1;
  return static_cast<float>(std::max(kLeast, 1 + (negative ? -kRange : kRange) * share));
}

}  // namespace

RgbImage ApplyAugmentOp(const RgbImage& image, AugmentOp op, double magnitude, bool negative,
                        const RgbPixel& fill) {
  const double share = magnitude / kMaxMagnitude;
  const double signed_share = negative ? -share : share;
  constexpr double kMaxDegrees = 30, kMaxShear = 0.3, kMaxTranslation = 0.45;
  switch (op) {
    case AugmentOp::kAutoContrast:
      return InPlace(image, AutoContrast);
    case AugmentOp::kEqualize:
      return InPlace(image, Equalize);
    case AugmentOp::kInvert:
      return InPlace(image, Invert);
    case AugmentOp::kRotate:
      if (share == 0) return image;
      return TransformAffine(image, RotationMatrix(kMaxDegrees * signed_share, image.width, image.height),
                             fill);
    case AugmentOp::kPosterize:
      return InPlace(image, Posterize, 4 - static_cast<int>(share * 4));
    case AugmentOp::kSolarize:
      return InPlace(image, Solarize, 256 - std::min(256, static_cast<int>(share * 256)));
    case AugmentOp::kSolarizeAdd:
      return InPlace(image, SolarizeAdd, std::min(128, static_cast<int>(share * 110)));
    case AugmentOp::kColour:
      return InPlace(image, EnhanceColour, EnhanceFactor(share, negative));
    case AugmentOp::kContrast:
      return InPlace(image, EnhanceContrast, EnhanceFactor(share, negative));
    case AugmentOp::kBrightness:
      return InPlace(image, EnhanceBrightness, EnhanceFactor(share, negative));
    case AugmentOp::kSharpness:
      return InPlace(image, EnhanceSharpness, EnhanceFactor(share, negative));
    case AugmentOp::kShearX:
      return TransformAffine(image, {1, kMaxShear * signed_share, 0, 0, 1, 0}, fill);
    case AugmentOp::kShearY:
      return TransformAffine(image, {1, 0, 0, kMaxShear * signed_share, 1, 0}, fill);
    case AugmentOp::kTranslateX:
      return TransformAffine(image, {1, 0, kMaxTranslation * signed_share * image.width, 0, 1, 0}, fill);
    case AugmentOp::kTranslateY:
      return TransformAffine(image, {1, 0, 0, 0, 1, kMaxTranslation * signed_share * image.height}, fill);
  }
  return image;
}

RgbImage RandAugment::Apply(RgbImage image, const RgbPixel& fill, AugmentRandom random) const {
  std::vector<AugmentOp> ops(static_cast<size_t>(num_ops));
  for (AugmentOp& op : ops) op = static_cast<AugmentOp>(random.NextBelow(kNumAugmentOps));
  for (const AugmentOp op : ops) {
    // All three are drawn whether they are used or not: the next operation does not depend on this one.
    const bool applied = random.Uniform() < probability;
    const double drawn = std::clamp(magnitude + deviation * random.Normal(), 0.0, kMaxMagnitude);
    const bool negative = random.NextBelow(2) == 1;
    if (applied) image = ApplyAugmentOp(image, op, drawn, negative, fill);
  }
  return image;
}

absl::StatusOr<RandAugment> ParseRandAugment(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '-');
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": ", why,
                     "; written as timm writes it, such as rand-m9-mstd0.5-inc1 "
                     "(magnitude, its deviation, increasing severities; -n2 "
                     "operations, each with -p0.5)"));
  };
  if (parts.front() != "rand") return refuse("the policy must be rand");
  RandAugment policy;
  bool increasing = false;
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t digit = std::min(parts[i].find_first_of("0123456789."), parts[i].size());
    const absl::string_view key = parts[i].substr(0, digit);
    const absl::StatusOr<double> number = ParseDecimal(parts[i].substr(digit));
    if (!number.ok()) return refuse(absl::StrCat("\"", parts[i], "\" is no key with a number"));
    const double value = *number;
    if (key == "m" && value >= 0 && value <= kMaxMagnitude) {
      policy.magnitude = value;
    } else if (key == "mstd" && value >= 0 && value <= kMaxMagnitude) {
      policy.deviation = value;
    } else if (key == "n" && value >= 1 && value <= 100 && value == std::floor(value)) {
      policy.num_ops = static_cast<int>(value);
    } else if (key == "p" && value >= 0 && value <= 1) {
      policy.probability = value;
    } else if (key == "inc" && value == 1) {
      increasing = true;
    } else {
      return refuse(absl::StrCat("\"", parts[i], "\" is out of range or not known"));
    }
  }
  if (!increasing) return refuse("without inc1");
  return policy;
}

}  // namespace afterimage::trainer
