// How a view is made from an image.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/identity/canonical_spec.h"

namespace afterimage {

struct Ratio {
  uint32_t numerator = 0;
  uint32_t denominator = 1;

  bool operator==(const Ratio&) const = default;
};

// Version 1 of the views of design.md section 4. Part of the feature id.
struct ViewSpec {
  enum class Crop {
    kRandomResizedCrop,  // training; a view seed gives a crop and a flip
    kResizeCenterCrop,   // evaluation; the view seed is ignored
  };

  Crop crop = Crop::kRandomResizedCrop;
  uint32_t size = 224;   // side of the square view, pixels
  Ratio min_area{1, 5};  // of the image's area (random resized crop)
  Ratio max_area{1, 1};
  Ratio min_aspect{3, 4};  // width / height, drawn log-uniformly
  Ratio max_aspect{4, 3};
  Ratio flip_probability{1, 2};
  uint32_t resize_shorter = 256;  // shorter side before the centre crop (resize and centre crop)

  bool operator==(const ViewSpec&) const = default;

  // Every field that has an effect, plus versions of decode policy, resize and generator.
  Json ToCanonical() const;
  // InvalidArgument: an unknown key, a missing one, or a value out of range; FailedPrecondition: another
  // version.
  static absl::StatusOr<ViewSpec> FromCanonical(const Json& json);
  // InvalidArgument names the field.
  absl::Status Validate() const;
};

}  // namespace afterimage
