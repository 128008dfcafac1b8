// A computed unit on its way into a set's database.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache_server/storage/set_database.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// incoming/<unit>.<worker>/: the SST files of one unit, one per view seed, and unit.json, which names them
// with their checksums. It appears whole (written as *.tmp, synced, renamed) and stays until whoever holds
// the ingest lock has ingested it.
struct Contribution {
  static constexpr char kUnitFile[] = "unit.json";
  // Locked by the writer of a *.tmp folder for as long as it lives.
  static constexpr char kAliveFile[] = "alive";

  std::filesystem::path folder;
  UnitId unit;
  std::string worker;
  std::vector<SstFile> files;
  std::vector<RecordKey> repaired;  // known to be damaged before, and written anew

  // The text of unit.json.
  std::string Serialize() const;
  // DataLoss: unit.json is not what Serialize writes, or names a file that is not there.
  static absl::StatusOr<Contribution> Load(const std::filesystem::path& folder);

  // DataLoss: a file is not what its writer wrote.
  absl::Status VerifyFiles() const;

  // Calls `visit` for each record of the files, markers left out, until it returns an error.
  absl::Status ForEachRecord(
      const std::function<absl::Status(const RecordKey& key, ByteSpan block)>& visit) const;
};

// Names of the units that have a whole contribution waiting.
absl::StatusOr<std::set<std::string>> WaitingUnits(const std::filesystem::path& incoming);
// The folders of whole contributions, in the order of their names; of one unit where `unit_name` is not
// empty.
absl::StatusOr<std::vector<std::filesystem::path>> WaitingContributions(const std::filesystem::path& incoming,
                                                                        const std::string& unit_name = "");
// Removes the unfinished contributions of workers that died; those of living workers are locked.
absl::Status RemoveLeftovers(const std::filesystem::path& incoming);
// Removes a whole contribution: a crash in between leaves a leftover, never half a contribution.
absl::Status RemoveContribution(const std::filesystem::path& folder);

}  // namespace afterimage
