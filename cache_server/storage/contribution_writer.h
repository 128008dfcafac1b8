// Writes the files of a unit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache_server/storage/contribution.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/set_folder.h"
#include "cache_server/storage/unit_marker.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// One contribution in the making: Add while the records come, at the end Commit. Each file, one per view
// seed, begins with the unit's fence; that of the first seed ends with its marker. Destroyed without Commit,
// it leaves nothing behind. Not thread-safe. ResourceExhausted of any method: the disk is full; nothing was
// committed.
class ContributionWriter {
 public:
  // `attempt` tells apart writers of one lease that live at the same time.
  static absl::StatusOr<std::unique_ptr<ContributionWriter>> Open(const SetFolder& folder,
                                                                  const UnitLease& lease, uint32_t num_shards,
                                                                  int attempt = 1);
  ~ContributionWriter();

  // In ascending order of image keys within each view seed of the unit, whose seeds may alternate.
  absl::Status Add(const RecordKey& key, ByteSpan block);
  // All that was added, by view seed and then by image key. Nothing can be added or committed any more.
  absl::Status ForEachRecord(const std::function<absl::Status(const RecordKey& key, ByteSpan block)>& visit);
  // Makes the contribution durable and whole; returns it with its final paths.
  absl::StatusOr<Contribution> Commit(const UnitMarker& marker, std::vector<RecordKey> repaired);

 private:
  struct Table;  // an SST file being written

  ContributionWriter(const SetFolder& folder, const UnitLease& lease, uint32_t num_shards, int attempt);
  absl::StatusOr<Table*> TableOf(uint32_t view_seed);
  absl::Status FinishTables();

  const std::filesystem::path final_folder_;
  const std::filesystem::path temporary_folder_;
  const uint32_t num_shards_;
  Contribution contribution_;  // its files lie in the temporary folder until Commit
  std::unique_ptr<FileLock> alive_;
  std::map<uint32_t, std::unique_ptr<Table>> tables_;  // by view seed
  bool committed_ = false;
};

}  // namespace afterimage
