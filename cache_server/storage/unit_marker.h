// What a set's database keeps about a complete unit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/feature/feature_catalog.h"
#include "core/feature/unit_ledger.h"
#include "core/feature/unit_writer.h"

namespace afterimage {

// The value under MarkerStoreKey of a unit's first view seed: the unit is complete.
struct UnitMarker {
  UnitId unit;
  // Records that this unit, and repairs of it, put into the database; those that it found there are counted
  // by their own unit.
  uint64_t num_records = 0;  // OK
  uint64_t num_failed = 0;
  std::vector<UnitMetadata> workers;
  std::vector<FailureEntry> failures;

  // JSON.
  std::string Serialize() const;
  static absl::StatusOr<UnitMarker> Parse(absl::string_view text);

  // Adds what was written for the same unit before: a repair, or the same seeds under a smaller K.
  void Absorb(const UnitMarker& earlier);
};

// UnitId as fields of a JSON object, for the formats of this room.
Json UnitToJson(const UnitId& unit);
absl::StatusOr<UnitId> UnitFromJson(const Json& json);

// DataLoss unless the text is a JSON object.
absl::StatusOr<Json> ParseJsonObject(absl::string_view text, absl::string_view what);

// Adds `metadata` to the entry of the same device, versions, threads and micro-batch, or appends it.
void AddWorker(const UnitMetadata& metadata, std::vector<UnitMetadata>& workers);

}  // namespace afterimage
