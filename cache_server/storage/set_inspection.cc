#include "cache_server/storage/set_inspection.h"

#include <algorithm>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/store_keys.h"
#include "cache_server/storage/xxh3_file_checksum.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"

namespace afterimage {
namespace {

struct UnitKeys {
  UnitId unit;
  std::shared_ptr<const Manifest> manifest;
  KeyIndexRange range;
};

absl::StatusOr<std::vector<UnitKeys>> CompleteUnits(SetSession& session, const ManifestFolder& manifests) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> digests, manifests.List());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<UnitMarker> markers, session.Markers(digests));
  std::vector<UnitKeys> units;
  for (const UnitMarker& marker : markers) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> manifest,
                                manifests.Get(marker.unit.manifest));
    units.push_back({marker.unit, manifest,
                     ShardKeys(*manifest, marker.unit.shard, session.description().layout.num_shards)});
  }
  return units;
}

// Empty if the record is whole; else what is wrong with it.
absl::StatusOr<std::string> Defect(const SetSession& session, const RecordKey& key, bool* is_failure) {
  const absl::StatusOr<std::optional<PinnedBytes>> value = session.Get(RecordStoreKey(key));
  if (absl::IsDataLoss(value.status())) return std::string(value.status().message());
  if (!value.ok()) return value.status();
  if (!value->has_value()) return std::string("its unit is complete, but the record is not there");
  const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse((*value)->bytes);
  if (!block.ok()) return std::string(block.status().message());
  *is_failure = block->is_failure();
  return std::string(block->VerifyAll().message());
}

absl::Status VerifyFiles(SetSession& session, VerifyReport& report) {
  const std::shared_ptr<SetDatabase> database = session.database();
  if (database == nullptr) return absl::OkStatus();
  for (const TableFile& file : database->TableFiles()) {
    ++report.num_files;
    report.file_bytes += file.size_bytes;
    const absl::StatusOr<std::string> checksum = ChecksumOfFile(file.path);
    if (checksum.ok() && *checksum == file.checksum) continue;
    report.damaged_files.push_back(
        checksum.ok() ? absl::StrCat(file.path.string(), ": checksum ", HexEncode(AsBytes(*checksum)),
                                     ", written with ", HexEncode(AsBytes(file.checksum)))
                      : std::string(checksum.status().message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SetSummary> SummarizeSet(SetSession& session, const ManifestFolder& manifests) {
  SetSummary summary{.id = session.folder().id(), .description = session.description()};
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> digests, manifests.List());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<UnitMarker> markers, session.Markers(digests));
  std::set<Digest256> present;
  for (const UnitMarker& marker : markers) {
    present.insert(marker.unit.manifest);
    summary.num_view_seeds = std::max(summary.num_view_seeds, marker.unit.seed_end);
    summary.num_records += marker.num_records;
    summary.num_failed += marker.num_failed;
    for (const UnitMetadata& worker : marker.workers) AddWorker(worker, summary.workers);
  }
  summary.manifests.assign(present.begin(), present.end());
  if (const std::shared_ptr<SetDatabase> database = session.database(); database != nullptr) {
    for (const TableFile& file : database->TableFiles()) summary.stored_bytes += file.size_bytes;
  }
  return summary;
}

absl::StatusOr<std::vector<FailureEntry>> FailuresOfSet(SetSession& session, const ManifestFolder& manifests,
                                                        size_t limit) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> digests, manifests.List());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<UnitMarker> markers, session.Markers(digests));
  std::vector<FailureEntry> failures;
  for (const UnitMarker& marker : markers) {
    failures.insert(failures.end(), marker.failures.begin(), marker.failures.end());
  }
  std::sort(failures.begin(), failures.end(), [](const FailureEntry& a, const FailureEntry& b) {
    return std::tie(a.key.view_seed, a.key.image) < std::tie(b.key.view_seed, b.key.image);
  });
  if (failures.size() > limit) failures.resize(limit);
  return failures;
}

absl::StatusOr<VerifyReport> VerifySetContent(SetSession& session, const ManifestFolder& manifests,
                                              const VerifyProgress& progress) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<UnitKeys> units, CompleteUnits(session, manifests));
  uint64_t total = 0;
  for (const UnitKeys& keys : units) {
    total += (keys.range.end - keys.range.begin) * uint64_t{keys.unit.seed_end - keys.unit.seed_begin};
  }
  VerifyReport report;
  uint64_t done = 0;
  std::set<Digest256> several;
  for (const UnitKeys& keys : units) several.insert(keys.unit.manifest);
  std::set<RecordKey> seen;  // manifests share records; not kept when there is only one
  for (const UnitKeys& keys : units) {
    for (uint32_t seed = keys.unit.seed_begin; seed < keys.unit.seed_end; ++seed) {
      for (size_t i = keys.range.begin; i < keys.range.end; ++i) {
        if (progress && !progress(done++, total)) return absl::CancelledError("the verification was ended");
        const RecordKey key{keys.manifest->keys()[i], seed};
        if (several.size() > 1 && !seen.insert(key).second) continue;
        bool is_failure = false;
        AFTERIMAGE_ASSIGN_OR_RETURN(std::string defect, Defect(session, key, &is_failure));
        if (defect.empty()) {
          ++(is_failure ? report.num_failed : report.num_ok);
        } else {
          report.damaged.push_back({key, absl::StrCat("record ", key.ToString(), ": ", defect)});
        }
      }
    }
  }
  AFTERIMAGE_RETURN_IF_ERROR(VerifyFiles(session, report));
  if (progress) progress(total, total);
  return report;
}

}  // namespace afterimage
