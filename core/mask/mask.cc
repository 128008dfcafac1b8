#include "core/mask/mask.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/mask/exponential_race.h"
#include "core/view/philox.h"

namespace afterimage {
namespace {

constexpr int64_t kMaskSpecVersion = 1;
constexpr size_t kMaxPatches = 65536;  // patch numbers are 16 bits

absl::StatusOr<uint32_t> CountField(const Json& json, absl::string_view key, int64_t smallest) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t value, IntegerField(json, key));
  if (value < smallest || value > int64_t{UINT32_MAX}) {
    return absl::InvalidArgumentError(
        absl::StrCat("mask spec: \"", key, "\" is ", value, ", not ", smallest, " to ", UINT32_MAX));
  }
  return static_cast<uint32_t>(value);
}

// Where the masks of one seed lie among the streams: far apart for different seeds, one behind the other for
// the mask indices of one, so that no two masks of a view share a stream.
uint32_t StreamIndex(uint32_t mask_seed, uint32_t mask_index) {
  return Philox4x32({mask_seed, 0, 0, static_cast<uint32_t>(RandomPurpose::kMask)}, {0, 0})[0] + mask_index;
}

absl::Status CheckArguments(const MaskSpec& spec, std::span<const float> importance) {
  if (importance.empty() || importance.size() > kMaxPatches) {
    return absl::InvalidArgumentError(
        absl::StrCat("a mask of ", importance.size(), " patches; 1 to ", kMaxPatches, " are supported"));
  }
  if (spec.num_visible == 0 || spec.num_visible > importance.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_visible is ", spec.num_visible, ", the view has ", importance.size(), " patches"));
  }
  if (spec.type == MaskSpec::Type::kRandom) return absl::OkStatus();
  for (size_t i = 0; i < importance.size(); ++i) {
    if (!std::isfinite(importance[i]) || importance[i] < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("the importance of patch ", i, " is ", importance[i], ", not a finite number >= 0"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

Json MaskSpec::ToCanonical() const {
  return {{"version", kMaskSpecVersion},
          {"type", type == Type::kAttention ? "attention" : "random"},
          {"num_visible", num_visible},
          {"mask_seed", mask_seed},
          {"num_masks", num_masks}};
}

absl::StatusOr<MaskSpec> MaskSpec::FromCanonical(const Json& json) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(json, "version"));
  if (version != kMaskSpecVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "mask spec: \"version\" is ", version, ", this program draws masks of version ", kMaskSpecVersion));
  }
  AFTERIMAGE_RETURN_IF_ERROR(
      RefuseUnknownKeys(json, {"version", "type", "num_visible", "mask_seed", "num_masks"}));
  MaskSpec spec;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string type, TextField(json, "type"));
  if (type != "attention" && type != "random") {
    return absl::InvalidArgumentError(
        absl::StrCat("mask spec: \"type\" is ", type, ", not attention or random"));
  }
  spec.type = type == "attention" ? Type::kAttention : Type::kRandom;
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.num_visible, CountField(json, "num_visible", 1));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.mask_seed, CountField(json, "mask_seed", 0));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.num_masks, CountField(json, "num_masks", 1));
  return spec;
}

uint32_t NumVisible(uint32_t num_patches, double mask_ratio) {
  return static_cast<uint32_t>(num_patches * (1.0 - mask_ratio));
}

absl::StatusOr<std::vector<uint16_t>> DrawMask(const MaskSpec& spec, const ImageKey& key, uint32_t view_seed,
                                               uint32_t mask_index, std::span<const float> importance) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckArguments(spec, importance));
  ViewRandom random(key, view_seed, RandomPurpose::kMask, StreamIndex(spec.mask_seed, mask_index));
  std::vector<mask_internal::Runner> runners;
  runners.reserve(importance.size());
  for (size_t i = 0; i < importance.size(); ++i) {
    const float weight = spec.type == MaskSpec::Type::kRandom ? 1.0f : importance[i];
    runners.push_back(mask_internal::MakeRunner(static_cast<uint16_t>(i), weight, random.Next64()));
  }
  std::partial_sort(runners.begin(), runners.begin() + spec.num_visible, runners.end(),
                    mask_internal::DrawnBefore);
  std::vector<uint16_t> visible(spec.num_visible);
  std::transform(runners.begin(), runners.begin() + spec.num_visible, visible.begin(),
                 [](const mask_internal::Runner& runner) { return runner.patch; });
  return visible;
}

}  // namespace afterimage
