#include "cache_server/storage/unit_marker.h"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"

namespace afterimage {
namespace {

constexpr int64_t kMarkerVersion = 1;

absl::StatusOr<uint32_t> Unsigned32Field(const Json& json, absl::string_view key) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t value, IntegerField(json, key));
  if (value < 0 || value > std::numeric_limits<uint32_t>::max()) {
    return absl::DataLossError(absl::StrCat("field ", key, " is out of range: ", value));
  }
  return static_cast<uint32_t>(value);
}

absl::StatusOr<FailureEntry> FailureFromJson(const Json& json) {
  FailureEntry entry;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string image, TextField(json, "image"));
  AFTERIMAGE_ASSIGN_OR_RETURN(entry.key.image, ImageKey::FromHex(image));
  AFTERIMAGE_ASSIGN_OR_RETURN(entry.key.view_seed, Unsigned32Field(json, "view_seed"));
  AFTERIMAGE_ASSIGN_OR_RETURN(entry.reason, TextField(json, "reason"));
  return entry;
}

const Json* FindArray(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_array() ? &*found : nullptr;
}

}  // namespace

Json UnitToJson(const UnitId& unit) {
  return Json{{"manifest", unit.manifest.Hex()},
              {"shard", unit.shard},
              {"seed_begin", unit.seed_begin},
              {"seed_end", unit.seed_end}};
}

absl::StatusOr<UnitId> UnitFromJson(const Json& json) {
  UnitId unit;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string manifest, TextField(json, "manifest"));
  AFTERIMAGE_ASSIGN_OR_RETURN(unit.manifest, Digest256::FromHex(manifest));
  AFTERIMAGE_ASSIGN_OR_RETURN(unit.shard, Unsigned32Field(json, "shard"));
  AFTERIMAGE_ASSIGN_OR_RETURN(unit.seed_begin, Unsigned32Field(json, "seed_begin"));
  AFTERIMAGE_ASSIGN_OR_RETURN(unit.seed_end, Unsigned32Field(json, "seed_end"));
  return unit;
}

absl::StatusOr<Json> ParseJsonObject(absl::string_view text, absl::string_view what) {
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError(absl::StrCat(what, " is not a JSON object"));
  return json;
}

void AddWorker(const UnitMetadata& metadata, std::vector<UnitMetadata>& workers) {
  const auto setting = [](const UnitMetadata& one) {
    return std::tie(one.device, one.library_versions, one.num_threads, one.micro_batch);
  };
  const auto same = std::find_if(workers.begin(), workers.end(),
                                 [&](const UnitMetadata& one) { return setting(one) == setting(metadata); });
  if (same == workers.end()) {
    workers.push_back(metadata);
    return;
  }
  same->AddCounts(metadata);
}

std::string UnitMarker::Serialize() const {
  Json json = UnitToJson(unit);
  json["version"] = kMarkerVersion;
  json["num_records"] = num_records;
  json["num_failed"] = num_failed;
  json["workers"] = Json::array();
  for (const UnitMetadata& worker : workers) json["workers"].push_back(worker.Serialize());
  json["failures"] = Json::array();
  for (const FailureEntry& entry : failures) {
    json["failures"].push_back(
        {{"image", entry.key.image.Hex()}, {"view_seed", entry.key.view_seed}, {"reason", entry.reason}});
  }
  return JsonText(json);
}

absl::StatusOr<UnitMarker> UnitMarker::Parse(absl::string_view text) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, "unit marker"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(json, "version"));
  if (version != kMarkerVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("unit marker of format version ", version, "; this program knows ", kMarkerVersion));
  }
  UnitMarker marker;
  AFTERIMAGE_ASSIGN_OR_RETURN(marker.unit, UnitFromJson(json));
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t num_records, IntegerField(json, "num_records"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t num_failed, IntegerField(json, "num_failed"));
  marker.num_records = static_cast<uint64_t>(num_records);
  marker.num_failed = static_cast<uint64_t>(num_failed);
  const Json* workers = FindArray(json, "workers");
  const Json* failures = FindArray(json, "failures");
  if (workers == nullptr || failures == nullptr) {
    return absl::DataLossError("unit marker without workers or failures");
  }
  for (const Json& worker : *workers) {
    if (!worker.is_string()) return absl::DataLossError("unit marker: a worker is not text");
    AFTERIMAGE_ASSIGN_OR_RETURN(UnitMetadata metadata, UnitMetadata::Parse(worker.get<std::string>()));
    marker.workers.push_back(std::move(metadata));
  }
  for (const Json& failure : *failures) {
    AFTERIMAGE_ASSIGN_OR_RETURN(FailureEntry entry, FailureFromJson(failure));
    marker.failures.push_back(std::move(entry));
  }
  return marker;
}

void UnitMarker::Absorb(const UnitMarker& earlier) {
  unit.seed_end = std::max(unit.seed_end, earlier.unit.seed_end);
  num_records += earlier.num_records;
  num_failed += earlier.num_failed;
  for (const UnitMetadata& worker : earlier.workers) AddWorker(worker, workers);
  std::set<RecordKey> known;
  for (const FailureEntry& entry : failures) known.insert(entry.key);
  for (const FailureEntry& entry : earlier.failures) {
    if (known.insert(entry.key).second) failures.push_back(entry);
  }
}

}  // namespace afterimage
