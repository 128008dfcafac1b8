#include "core/feature/feature_spec.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr int64_t kFeatureSpecVersion = 1;
constexpr int64_t kSetSpecVersion = 1;
constexpr int64_t kPackedSetSpecVersion = 2;  // of sets with packed pixels, which programs before refuse
constexpr int64_t kDescriptionVersion = 1;

// Token numbers and levels are stored in 16 bits; 1 + 255 * 255 tokens still fit.
constexpr uint32_t kMaxGrid = 255;
constexpr uint32_t kMaxLevels = 4096;
constexpr uint32_t kMaxWidth = 1 << 16;
constexpr uint32_t kMaxMasks = 4096;
constexpr uint32_t kMaxShards = 1 << 20;
constexpr uint32_t kMaxSeedsPerUnit = 1 << 16;

absl::Status CheckVersion(const Json& json, absl::string_view what, absl::string_view key, int64_t known) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(json, key));
  if (version == known) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(what, " has version ", version, ", this program reads version ", known));
}

absl::StatusOr<uint32_t> UnsignedField(const Json& json, absl::string_view key) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t value, IntegerField(json, key));
  if (value < 0 || value > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", key, "\" is ", value, ", not an unsigned 32-bit number"));
  }
  return static_cast<uint32_t>(value);
}

absl::StatusOr<Json> ObjectField(const Json& json, absl::string_view key) {
  const auto field = json.find(std::string(key));
  if (field == json.end() || !field->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing or not an object"));
  }
  return *field;
}

absl::StatusOr<Digest256> DigestField(const Json& json, absl::string_view key) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, TextField(json, key));
  absl::StatusOr<Digest256> digest = Digest256::FromHex(text);
  if (!digest.ok()) return WithContext(digest.status(), absl::StrCat("\"", key, "\""));
  return digest;
}

absl::Status CheckRange(absl::string_view name, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", it must be in ", low, "..", high));
}

absl::StatusOr<FeatureSpec> ParseFeatureSpec(const Json& json) {
  AFTERIMAGE_RETURN_IF_ERROR(
      RefuseUnknownKeys(json, {"geometry", "normalization", "preprocessing", "teacher", "version", "view"}));
  FeatureSpec spec;
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.teacher, ObjectField(json, "teacher"));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.preprocessing, ObjectField(json, "preprocessing"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json view, ObjectField(json, "view"));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.view, ViewSpec::FromCanonical(view));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json geometry, ObjectField(json, "geometry"));
  AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(geometry, {"grid", "num_levels", "width"}));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.geometry.grid, UnsignedField(geometry, "grid"));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.geometry.num_levels, UnsignedField(geometry, "num_levels"));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.geometry.width, UnsignedField(geometry, "width"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json normalization, ObjectField(json, "normalization"));
  AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(normalization, {"eps", "kind"}));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string kind, TextField(normalization, "kind"));
  if (kind != "layer_norm") {
    return absl::InvalidArgumentError(
        absl::StrCat("normalization \"", kind, "\" is unknown; known is layer_norm"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.normalization_eps, TextField(normalization, "eps"));
  return spec;
}

absl::StatusOr<SetSpec> ParseSetSpec(const Json& json) {
  AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(
      json, {"codec", "feature_id", "importance_from", "levels", "mask", "pixels", "profile_digest", "tokens", "version"}));
  SetSpec spec;
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.feature_id, DigestField(json, "feature_id"));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.profile_digest, DigestField(json, "profile_digest"));
  if (json.contains("importance_from")) {
    AFTERIMAGE_ASSIGN_OR_RETURN(spec.importance_from, DigestField(json, "importance_from"));
    if (spec.importance_from.IsZero() || spec.importance_from == spec.feature_id) {
      return absl::InvalidArgumentError("\"importance_from\" names no other feature id; it is absent then");
    }
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string codec, TextField(json, "codec"));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.codec, ParseCodec(codec));
  const auto levels = json.find("levels");
  if (levels == json.end() || !levels->is_array()) {
    return absl::InvalidArgumentError("\"levels\" is missing or not an array");
  }
  for (const Json& level : *levels) {
    if (!level.is_number_unsigned() || level.get<uint64_t>() > kMaxLevels) {
      return absl::InvalidArgumentError(absl::StrCat("\"levels\" holds something else than 1..", kMaxLevels));
    }
    spec.levels.push_back(level.get<uint32_t>());
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string tokens, TextField(json, "tokens"));
  if (tokens == "visible") {
    spec.token_policy = TokenPolicy::kVisible;
    AFTERIMAGE_ASSIGN_OR_RETURN(const Json mask, ObjectField(json, "mask"));
    AFTERIMAGE_ASSIGN_OR_RETURN(spec.mask, MaskSpec::FromCanonical(mask));
  } else if (tokens == "all") {
    spec.token_policy = TokenPolicy::kAll;
    if (json.contains("mask"))
      return absl::InvalidArgumentError("\"mask\" belongs to tokens \"visible\" only");
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("tokens \"", tokens, "\" are unknown; known are: all, visible"));
  }
  const auto pixels = json.find("pixels");
  if (json.at("version") == kPackedSetSpecVersion) {
    if (pixels == json.end() || *pixels != "packed") {
      return absl::InvalidArgumentError(absl::StrCat("\"pixels\" is missing or not \"packed\", as version ",
                                                     kPackedSetSpecVersion, " has it"));
    }
    spec.pixel_coding = PixelCoding::kPacked;
    return spec;
  }
  if (pixels == json.end() || !pixels->is_boolean()) {
    return absl::InvalidArgumentError("\"pixels\" is missing or neither true nor false");
  }
  spec.pixels = pixels->get<bool>();
  return spec;
}

absl::StatusOr<SetDescription> ParseDescription(const Json& json) {
  AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(json, {"feature", "format_version", "layout", "set"}));
  SetDescription description;
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json feature, ObjectField(json, "feature"));
  AFTERIMAGE_ASSIGN_OR_RETURN(description.feature, FeatureSpec::FromCanonical(feature));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json set, ObjectField(json, "set"));
  AFTERIMAGE_ASSIGN_OR_RETURN(description.set, SetSpec::FromCanonical(set));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json layout, ObjectField(json, "layout"));
  AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(layout, {"num_shards", "seeds_per_unit"}));
  AFTERIMAGE_ASSIGN_OR_RETURN(description.layout.num_shards, UnsignedField(layout, "num_shards"));
  AFTERIMAGE_ASSIGN_OR_RETURN(description.layout.seeds_per_unit, UnsignedField(layout, "seeds_per_unit"));
  AFTERIMAGE_RETURN_IF_ERROR(description.Validate());
  return description;
}

}  // namespace

Json FeatureSpec::ToCanonical() const {
  return Json{
      {"geometry", {{"grid", geometry.grid}, {"num_levels", geometry.num_levels}, {"width", geometry.width}}},
      {"normalization", {{"eps", normalization_eps}, {"kind", "layer_norm"}}},
      {"preprocessing", preprocessing},
      {"teacher", teacher},
      {"version", kFeatureSpecVersion},
      {"view", view.ToCanonical()},
  };
}

absl::StatusOr<FeatureSpec> FeatureSpec::FromCanonical(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("feature spec: expected a JSON object");
  AFTERIMAGE_RETURN_IF_ERROR(
      WithContext(CheckVersion(json, "the feature spec", "version", kFeatureSpecVersion), "feature spec"));
  absl::StatusOr<FeatureSpec> spec = ParseFeatureSpec(json);
  if (!spec.ok()) return WithContext(spec.status(), "feature spec");
  return spec;
}

Digest256 FeatureSpec::Id() const { return CanonicalDigest(ToCanonical()); }

std::vector<std::string> PixelsNames() { return {"packed", "raw", "none"}; }

std::string PixelsName(const SetSpec& set) {
  if (!set.pixels) return "none";
  return set.pixel_coding == PixelCoding::kPacked ? "packed" : "raw";
}

absl::Status SetPixels(absl::string_view name, SetSpec& set) {
  const std::vector<std::string> names = PixelsNames();
  if (std::ranges::find(names, name) == names.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("pixels \"", name, "\" are unknown; known are: ", absl::StrJoin(names, ", ")));
  }
  set.pixels = name != "none";
  set.pixel_coding = name == "packed" ? PixelCoding::kPacked : PixelCoding::kRaw;
  return absl::OkStatus();
}

Json SetSpec::ToCanonical() const {
  const bool packed = pixels && pixel_coding == PixelCoding::kPacked;
  Json json = {
      {"codec", CodecName(codec)},
      {"feature_id", feature_id.Hex()},
      {"levels", levels},
      {"pixels", packed ? Json("packed") : Json(pixels)},
      {"profile_digest", profile_digest.Hex()},
      {"tokens", token_policy == TokenPolicy::kAll ? "all" : "visible"},
      {"version", packed ? kPackedSetSpecVersion : kSetSpecVersion},
  };
  if (token_policy == TokenPolicy::kVisible) json["mask"] = mask.ToCanonical();
  if (!importance_from.IsZero()) json["importance_from"] = importance_from.Hex();
  return json;
}

absl::StatusOr<SetSpec> SetSpec::FromCanonical(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("set spec: expected a JSON object");
  const absl::StatusOr<int64_t> version = IntegerField(json, "version");
  if (!version.ok()) return WithContext(version.status(), "set spec");
  if (*version != kSetSpecVersion && *version != kPackedSetSpecVersion) {
    return absl::FailedPreconditionError(absl::StrCat("set spec: the set spec has version ", *version,
                                                      ", this program reads versions ", kSetSpecVersion,
                                                      " and ", kPackedSetSpecVersion));
  }
  absl::StatusOr<SetSpec> spec = ParseSetSpec(json);
  if (!spec.ok()) return WithContext(spec.status(), "set spec");
  return spec;
}

Digest256 SetSpec::Id() const { return CanonicalDigest(ToCanonical()); }

absl::Status CheckMaskSource(const SetDescription& description, const MaskSpec& mask) {
  const FeatureSpec& feature = description.feature;
  if (mask.type != MaskSpec::Type::kAttention || !feature.teacher.is_object()) return absl::OkStatus();
  if (!description.set.importance_from.IsZero()) return absl::OkStatus();
  const auto importance = feature.teacher.find("importance");
  if (importance == feature.teacher.end() || *importance != kNoImportance) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "this teacher computes no importance, from which masks could be drawn: ask for random ones (--mask-type random)");
}

absl::Status SetDescription::Validate() const {
  const TeacherGeometry& geometry = feature.geometry;
  AFTERIMAGE_RETURN_IF_ERROR(
      CheckRange("the teacher's number of levels", geometry.num_levels, 1, kMaxLevels));
  AFTERIMAGE_RETURN_IF_ERROR(CheckRange("the teacher's width", geometry.width, 1, kMaxWidth));
  AFTERIMAGE_RETURN_IF_ERROR(CheckRange("the teacher's grid", geometry.grid, 1, kMaxGrid));
  AFTERIMAGE_RETURN_IF_ERROR(feature.view.Validate());
  if (feature.view.size % geometry.grid != 0) {
    return absl::InvalidArgumentError(absl::StrCat("the view's side of ", feature.view.size,
                                                   " pixels is not a multiple of the teacher's grid of ",
                                                   geometry.grid));
  }
  const absl::StatusOr<double> eps = ParseDecimal(feature.normalization_eps);
  if (!eps.ok() || *eps < 0 || DecimalText(*eps) != feature.normalization_eps) {
    return absl::InvalidArgumentError(absl::StrCat("the normalization's eps \"", feature.normalization_eps,
                                                   "\" is not a shortest decimal of a number >= 0"));
  }
  if (!feature.teacher.is_object()) return absl::InvalidArgumentError("the teacher's spec is not an object");
  if (!feature.preprocessing.is_object())
    return absl::InvalidArgumentError("the preprocessing is not an object");
  const absl::StatusOr<std::string> text = CanonicalText(feature.ToCanonical());
  if (!text.ok()) return WithContext(text.status(), "feature spec");

  const Digest256 id = feature.Id();
  if (set.feature_id != id) {
    return absl::InvalidArgumentError(absl::StrCat("the set is of feature id ", set.feature_id.Hex(),
                                                   ", the feature spec beside it has the id ", id.Hex()));
  }
  if (set.levels.empty()) return absl::InvalidArgumentError("the set has no levels");
  if (std::adjacent_find(set.levels.begin(), set.levels.end(), std::greater_equal<>()) != set.levels.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("levels ", absl::StrJoin(set.levels, ","), " are not ascending"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckRange("the lowest level", set.levels.front(), 1, geometry.num_levels));
  AFTERIMAGE_RETURN_IF_ERROR(CheckRange("the highest level", set.levels.back(), 1, geometry.num_levels));
  if (set.token_policy == TokenPolicy::kVisible) {
    AFTERIMAGE_RETURN_IF_ERROR(
        CheckRange("the mask's number of visible patches", set.mask.num_visible, 1, geometry.num_patches()));
    AFTERIMAGE_RETURN_IF_ERROR(CheckMaskSource(*this, set.mask));
    AFTERIMAGE_RETURN_IF_ERROR(CheckRange("the number of masks", set.mask.num_masks, 1, kMaxMasks));
  }
  if (NeedsProfile(set.codec) && set.profile_digest.IsZero()) {
    return absl::InvalidArgumentError(
        absl::StrCat("codec ", CodecName(set.codec), " needs a profile; none is given"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckRange("the number of shards", layout.num_shards, 1, kMaxShards));
  return CheckRange("the number of view seeds per unit", layout.seeds_per_unit, 1, kMaxSeedsPerUnit);
}

std::string SetDescription::Serialize() const {
  const Json json = {
      {"feature", feature.ToCanonical()},
      {"format_version", kDescriptionVersion},
      {"layout", {{"num_shards", layout.num_shards}, {"seeds_per_unit", layout.seeds_per_unit}}},
      {"set", set.ToCanonical()},
  };
  // value() ends the process on a spec that is not canonical: Validate refuses such before.
  return CanonicalText(json).value();
}

absl::StatusOr<SetDescription> SetDescription::Parse(absl::string_view text) {
  // The version comes first, by a lenient parse: another version may have another canonical form.
  const Json lenient = Json::parse(text.begin(), text.end(), /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!lenient.is_object()) return absl::InvalidArgumentError("set description: not a JSON object");
  AFTERIMAGE_RETURN_IF_ERROR(
      WithContext(CheckVersion(lenient, "the description's format", "format_version", kDescriptionVersion),
                  "set description"));
  absl::StatusOr<Json> json = ParseCanonical(text);
  if (!json.ok()) return WithContext(json.status(), "set description");
  absl::StatusOr<SetDescription> description = ParseDescription(*json);
  if (!description.ok()) return WithContext(description.status(), "set description");
  return description;
}

std::vector<uint32_t> LastLevels(uint32_t num_levels, uint32_t count) {
  std::vector<uint32_t> levels(std::min(num_levels, count));
  std::iota(levels.begin(), levels.end(), num_levels - static_cast<uint32_t>(levels.size()) + 1);
  return levels;
}

}  // namespace afterimage
