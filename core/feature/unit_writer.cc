#include "core/feature/unit_writer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "core/identity/canonical_spec.h"

namespace afterimage {
namespace {

constexpr int64_t kMetadataVersion = 1;

// JSON text holds UTF-8 only; a device name may hold anything.
std::string PrintableAscii(const std::string& text) {
  std::string printable = text;
  std::replace_if(
      printable.begin(), printable.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return printable;
}

template <typename Target>
absl::Status ReadCount(const Json& json, absl::string_view key, Target& target) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t value, IntegerField(json, key));
  if (value < 0 || static_cast<uint64_t>(value) > std::numeric_limits<Target>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is ", value));
  }
  target = static_cast<Target>(value);
  return absl::OkStatus();
}

absl::StatusOr<double> ReadDecimal(const Json& json, absl::string_view key) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, TextField(json, key));
  double value = 0;
  if (!absl::SimpleAtod(text, &value) || !(value >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is ", text));
  }
  return value;
}

absl::StatusOr<SampledError> ErrorFromJson(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("an error is no object");
  AFTERIMAGE_RETURN_IF_ERROR(
      RefuseUnknownKeys(json, {"largest", "level", "num_records", "num_values", "square_sum"}));
  SampledError error;
  AFTERIMAGE_RETURN_IF_ERROR(ReadCount(json, "level", error.level));
  AFTERIMAGE_RETURN_IF_ERROR(ReadCount(json, "num_records", error.num_records));
  AFTERIMAGE_RETURN_IF_ERROR(ReadCount(json, "num_values", error.num_values));
  AFTERIMAGE_ASSIGN_OR_RETURN(error.square_sum, ReadDecimal(json, "square_sum"));
  AFTERIMAGE_ASSIGN_OR_RETURN(error.largest, ReadDecimal(json, "largest"));
  return error;
}

absl::StatusOr<UnitMetadata> ParseMetadata(absl::string_view text) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json json, ParseCanonical(text));
  AFTERIMAGE_RETURN_IF_ERROR(
      RefuseUnknownKeys(json, {"device", "errors", "library_versions", "micro_batch", "num_failed",
                               "num_records", "num_threads", "version", "worker"}));
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(json, "version"));
  if (version != kMetadataVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("version ", version, ", this program reads version ", kMetadataVersion));
  }
  UnitMetadata metadata;
  AFTERIMAGE_ASSIGN_OR_RETURN(metadata.worker, TextField(json, "worker"));
  AFTERIMAGE_ASSIGN_OR_RETURN(metadata.device, TextField(json, "device"));
  AFTERIMAGE_ASSIGN_OR_RETURN(metadata.library_versions, TextField(json, "library_versions"));
  AFTERIMAGE_RETURN_IF_ERROR(ReadCount(json, "num_threads", metadata.num_threads));
  AFTERIMAGE_RETURN_IF_ERROR(ReadCount(json, "micro_batch", metadata.micro_batch));
  AFTERIMAGE_RETURN_IF_ERROR(ReadCount(json, "num_records", metadata.num_records));
  AFTERIMAGE_RETURN_IF_ERROR(ReadCount(json, "num_failed", metadata.num_failed));
  const auto errors = json.find("errors");
  if (errors == json.end()) return metadata;
  if (!errors->is_array()) return absl::InvalidArgumentError("\"errors\" is no list");
  for (const Json& entry : *errors) {
    AFTERIMAGE_ASSIGN_OR_RETURN(metadata.errors.emplace_back(), ErrorFromJson(entry));
  }
  return metadata;
}

// The parts of a block that are fixed by the set.
absl::Status CheckBlockOfSet(const SetDescription& description, const FeatureBlock& block) {
  const TeacherGeometry& geometry = description.feature.geometry;
  const SetSpec& set = description.set;
  const auto differs = [](absl::string_view what, const auto& block_has, const auto& set_has) {
    return absl::InvalidArgumentError(
        absl::StrCat("the block has ", what, " ", block_has, ", the set ", set_has));
  };
  if (block.is_part())
    return absl::InvalidArgumentError("the block is a part of a record; stores keep whole ones");
  if (block.codec() != set.codec) return differs("codec", CodecName(block.codec()), CodecName(set.codec));
  if (NeedsProfile(set.codec) && block.profile_digest() != set.profile_digest) {
    return differs("profile", block.profile_digest().Hex(), set.profile_digest.Hex());
  }
  if (block.grid() != geometry.grid) return differs("grid", block.grid(), geometry.grid);
  if (block.width() != geometry.width) return differs("width", block.width(), geometry.width);
  if (block.view_size() != description.feature.view.size) {
    return differs("view size", block.view_size(), description.feature.view.size);
  }
  if (block.levels() != set.levels) {
    return differs("levels", absl::StrJoin(block.levels(), ","), absl::StrJoin(set.levels, ","));
  }
  if (block.has_pixels() != set.pixels) {
    return differs("pixels:", block.has_pixels() ? "yes" : "no", set.pixels ? "yes" : "no");
  }
  if (block.has_packed_pixels() && set.pixel_coding != PixelCoding::kPacked) {
    return differs("pixels:", "packed", PixelsName(set));
  }
  if (set.token_policy == TokenPolicy::kAll) {
    if (block.num_tokens() != geometry.num_tokens())
      return differs("tokens", block.num_tokens(), geometry.num_tokens());
    if (block.num_masks() != 0) return differs("masks", block.num_masks(), 0);
    return absl::OkStatus();
  }
  if (block.num_masks() != set.mask.num_masks) return differs("masks", block.num_masks(), set.mask.num_masks);
  std::vector<bool> visible(geometry.num_patches(), false);
  for (uint32_t i = 0; i < block.num_masks(); ++i) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> mask, block.Mask(i));
    if (mask.size() != set.mask.num_visible)
      return differs("visible patches", mask.size(), set.mask.num_visible);
    for (const uint16_t patch : mask) visible[patch] = true;
  }
  const uint64_t num_visible = std::count(visible.begin(), visible.end(), true);
  if (block.num_tokens() != 1 + num_visible) return differs("tokens", block.num_tokens(), 1 + num_visible);
  return absl::OkStatus();
}

}  // namespace

double SampledError::Rmse() const {
  return num_values == 0 ? 0 : std::sqrt(square_sum / static_cast<double>(num_values));
}

void AddErrors(const std::vector<SampledError>& more, std::vector<SampledError>& sum) {
  for (const SampledError& error : more) {
    const auto at = std::ranges::lower_bound(sum, error.level, {}, &SampledError::level);
    if (at == sum.end() || at->level != error.level) {
      sum.insert(at, error);
      continue;
    }
    at->num_records += error.num_records;
    at->num_values += error.num_values;
    at->square_sum += error.square_sum;
    at->largest = std::max(at->largest, error.largest);
  }
}

void UnitMetadata::AddCounts(const UnitMetadata& other) {
  num_records += other.num_records;
  num_failed += other.num_failed;
  AddErrors(other.errors, errors);
}

std::string UnitMetadata::Serialize() const {
  Json json = {
      {"device", PrintableAscii(device)}, {"library_versions", PrintableAscii(library_versions)},
      {"micro_batch", micro_batch},       {"num_failed", num_failed},
      {"num_records", num_records},       {"num_threads", num_threads},
      {"version", kMetadataVersion},      {"worker", PrintableAscii(worker)},
  };
  for (const SampledError& error : errors) {
    json["errors"].push_back({{"largest", DecimalText(error.largest)},
                              {"level", error.level},
                              {"num_records", error.num_records},
                              {"num_values", error.num_values},
                              {"square_sum", DecimalText(error.square_sum)}});
  }
  return CanonicalText(json).value();
}

absl::StatusOr<UnitMetadata> UnitMetadata::Parse(absl::string_view text) {
  absl::StatusOr<UnitMetadata> metadata = ParseMetadata(text);
  if (!metadata.ok()) return WithContext(metadata.status(), "unit metadata");
  return metadata;
}

absl::Status CheckBlockForUnit(const SetDescription& description, const UnitId& unit, const RecordKey& key,
                               ByteSpan block) {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("record ", key.ToString(), " for unit ", unit.ToString(), ": ", why));
  };
  const uint32_t shard = ShardOfKey(key.image, description.layout.num_shards);
  if (shard != unit.shard) return refuse(absl::StrCat("the image belongs to shard ", shard));
  if (key.view_seed < unit.seed_begin || key.view_seed >= unit.seed_end)
    return refuse("the view seed is outside the unit");
  const absl::StatusOr<FeatureBlock> parsed = FeatureBlock::Parse(block);
  if (!parsed.ok()) return refuse(parsed.status().message());
  if (const absl::Status verified = parsed->VerifyAll(); !verified.ok()) return refuse(verified.message());
  if (parsed->is_failure()) return absl::OkStatus();
  const absl::Status of_set = CheckBlockOfSet(description, *parsed);
  return of_set.ok() ? of_set : refuse(of_set.message());
}

}  // namespace afterimage
