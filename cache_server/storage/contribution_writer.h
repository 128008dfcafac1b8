// Writes the files of a unit.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache_server/storage/contribution.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/set_folder.h"
#include "cache_server/storage/unit_marker.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// One contribution in the making: per view seed of the unit BeginSeed, then Add in ascending order of image
// keys; at the end Commit. Every file begins with the unit's marker. Destroyed without Commit, it leaves
// nothing behind. Not thread-safe. ResourceExhausted of any method: the disk is full; nothing was committed.
class ContributionWriter {
 public:
  static absl::StatusOr<std::unique_ptr<ContributionWriter>> Open(const SetFolder& folder,
                                                                  const UnitLease& lease, uint32_t num_shards,
                                                                  UnitMarker marker);
  ~ContributionWriter();

  absl::Status BeginSeed(uint32_t view_seed);
  absl::Status Add(const RecordKey& key, ByteSpan block);
  // Makes the contribution durable and whole; returns it with its final paths.
  absl::StatusOr<Contribution> Commit(std::vector<RecordKey> repaired);

 private:
  struct Table;  // the SST file being written

  ContributionWriter(const SetFolder& folder, const UnitLease& lease, uint32_t num_shards, UnitMarker marker);
  absl::Status FinishTable();

  const std::filesystem::path final_folder_;
  const std::filesystem::path temporary_folder_;
  const uint32_t num_shards_;
  const std::string marker_;
  Contribution contribution_;
  std::unique_ptr<FileLock> alive_;
  std::unique_ptr<Table> table_;
  bool committed_ = false;
};

}  // namespace afterimage
