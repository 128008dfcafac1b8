#include "core/view/view_spec.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/image/decode.h"
#include "core/image/resize.h"
#include "core/view/view_geometry.h"

namespace afterimage {
namespace {

constexpr char kRandomResizedCropName[] = "random_resized_crop";
constexpr char kResizeCenterCropName[] = "resize_center_crop";
constexpr int64_t kViewSpecVersion = 1;
constexpr int64_t kGeneratorVersion =
    1;  // Philox packing, fixed-point functions and the recipe of docs/views.md
constexpr uint32_t kMaxViewSide = 8192;
constexpr uint32_t kMaxAspect = 1024;  // far beyond use; keeps the fixed-point arithmetic in range

Json RatioJson(Ratio ratio) {
  const Ratio reduced = view_internal::Reduced(ratio);
  return Json::array({reduced.numerator, reduced.denominator});
}

absl::StatusOr<Ratio> RatioField(const Json& object, absl::string_view key) {
  const auto field = object.find(std::string(key));
  const auto is_u32 = [](const Json& value) {
    return value.is_number_unsigned() ? value.get<uint64_t>() <= UINT32_MAX
                                      : value.is_number_integer() && value.get<int64_t>() >= 0 &&
                                            value.get<int64_t>() <= int64_t{UINT32_MAX};
  };
  if (field == object.end() || !field->is_array() || field->size() != 2 || !is_u32((*field)[0]) ||
      !is_u32((*field)[1])) {
    return absl::InvalidArgumentError(
        absl::StrCat("view spec: \"", key, "\" must be [numerator, denominator]"));
  }
  const Ratio ratio{(*field)[0].get<uint32_t>(), (*field)[1].get<uint32_t>()};
  if (!(view_internal::Reduced(ratio) == ratio)) {
    return absl::InvalidArgumentError(absl::StrCat("view spec: \"", key, "\" must be in lowest terms"));
  }
  return ratio;
}

absl::StatusOr<uint32_t> SideField(const Json& object, absl::string_view key) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t value, IntegerField(object, key));
  if (value < 1 || value > kMaxViewSide) {
    return absl::InvalidArgumentError(
        absl::StrCat("view spec: \"", key, "\" is ", value, ", not 1 to ", kMaxViewSide));
  }
  return static_cast<uint32_t>(value);
}

absl::Status CheckVersion(const Json& object, absl::string_view key, int64_t ours) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(object, key));
  if (version == ours) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("view spec: \"", key, "\" is ", version, ", this program makes views of version ", ours));
}

absl::Status Refuse(absl::string_view field, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat("view spec: ", field, " ", rule));
}

// Whether first <= second.
bool NotAbove(Ratio first, Ratio second) {
  return uint64_t{first.numerator} * second.denominator <= uint64_t{second.numerator} * first.denominator;
}

absl::Status ValidateRandomResizedCrop(const ViewSpec& spec) {
  const struct {
    const char* name;
    Ratio ratio;
  } ratios[] = {{"min_area", spec.min_area},
                {"max_area", spec.max_area},
                {"min_aspect", spec.min_aspect},
                {"max_aspect", spec.max_aspect}};
  for (const auto& [name, ratio] : ratios) {
    if (ratio.numerator == 0 || ratio.denominator == 0) return Refuse(name, "must be above 0");
  }
  if (!NotAbove(spec.max_area, {1, 1})) return Refuse("max_area", "must not be above 1");
  if (!NotAbove(spec.min_area, spec.max_area)) return Refuse("min_area", "must not be above max_area");
  if (!NotAbove(spec.min_aspect, spec.max_aspect))
    return Refuse("min_aspect", "must not be above max_aspect");
  if (!NotAbove({1, kMaxAspect}, spec.min_aspect))
    return Refuse("min_aspect", absl::StrCat("must be at least 1/", kMaxAspect));
  if (!NotAbove(spec.max_aspect, {kMaxAspect, 1}))
    return Refuse("max_aspect", absl::StrCat("must be at most ", kMaxAspect));
  if (spec.flip_probability.denominator == 0 || !NotAbove(spec.flip_probability, {1, 1})) {
    return Refuse("flip_probability", "must be 0 to 1");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ViewSpec::Validate() const {
  if (size < 1 || size > kMaxViewSide) return Refuse("size", absl::StrCat("must be 1 to ", kMaxViewSide));
  if (crop == Crop::kRandomResizedCrop) return ValidateRandomResizedCrop(*this);
  if (resize_shorter < size || resize_shorter > kMaxViewSide) {
    return Refuse("resize_shorter", absl::StrCat("must be at least size and at most ", kMaxViewSide));
  }
  return absl::OkStatus();
}

Json ViewSpec::ToCanonical() const {
  Json json = {{"version", kViewSpecVersion},
               {"decode_version", kDecodePolicyVersion},
               {"resize_version", kResizeVersion},
               {"size", size}};
  if (crop == Crop::kResizeCenterCrop) {
    json["crop"] = kResizeCenterCropName;
    json["resize_shorter"] = resize_shorter;
    return json;
  }
  json["crop"] = kRandomResizedCropName;
  json["generator_version"] = kGeneratorVersion;
  json["min_area"] = RatioJson(min_area);
  json["max_area"] = RatioJson(max_area);
  json["min_aspect"] = RatioJson(min_aspect);
  json["max_aspect"] = RatioJson(max_aspect);
  json["flip_probability"] = RatioJson(flip_probability);
  return json;
}

absl::StatusOr<ViewSpec> ViewSpec::FromCanonical(const Json& json) {
  // Versions first: a later version may have keys that we do not know.
  AFTERIMAGE_RETURN_IF_ERROR(CheckVersion(json, "version", kViewSpecVersion));
  AFTERIMAGE_RETURN_IF_ERROR(CheckVersion(json, "decode_version", kDecodePolicyVersion));
  AFTERIMAGE_RETURN_IF_ERROR(CheckVersion(json, "resize_version", kResizeVersion));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string crop_name, TextField(json, "crop"));
  ViewSpec spec;
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.size, SideField(json, "size"));
  if (crop_name == kResizeCenterCropName) {
    spec.crop = Crop::kResizeCenterCrop;
    AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(
        json, {"version", "decode_version", "resize_version", "crop", "size", "resize_shorter"}));
    AFTERIMAGE_ASSIGN_OR_RETURN(spec.resize_shorter, SideField(json, "resize_shorter"));
  } else if (crop_name == kRandomResizedCropName) {
    AFTERIMAGE_RETURN_IF_ERROR(CheckVersion(json, "generator_version", kGeneratorVersion));
    AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(
        json, {"version", "decode_version", "resize_version", "generator_version", "crop", "size", "min_area",
               "max_area", "min_aspect", "max_aspect", "flip_probability"}));
    AFTERIMAGE_ASSIGN_OR_RETURN(spec.min_area, RatioField(json, "min_area"));
    AFTERIMAGE_ASSIGN_OR_RETURN(spec.max_area, RatioField(json, "max_area"));
    AFTERIMAGE_ASSIGN_OR_RETURN(spec.min_aspect, RatioField(json, "min_aspect"));
    AFTERIMAGE_ASSIGN_OR_RETURN(spec.max_aspect, RatioField(json, "max_aspect"));
    AFTERIMAGE_ASSIGN_OR_RETURN(spec.flip_probability, RatioField(json, "flip_probability"));
  } else {
    return absl::InvalidArgumentError(absl::StrCat("view spec: \"crop\" is ", crop_name, ", not ",
                                                   kRandomResizedCropName, " or ", kResizeCenterCropName));
  }
  AFTERIMAGE_RETURN_IF_ERROR(spec.Validate());
  return spec;
}

}  // namespace afterimage
