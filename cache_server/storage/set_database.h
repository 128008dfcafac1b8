// The RocksDB database of one set.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/set_folder.h"
#include "core/base/bytes.h"

namespace rocksdb {
class DB;
}

namespace afterimage {

// A finished SST file, ready to be ingested.
struct SstFile {
  std::filesystem::path path;
  std::string checksum;  // of the whole file, as RocksDB keeps it
};

// A table file that the database consists of.
struct TableFile {
  std::filesystem::path path;
  int level = 0;
  uint64_t size_bytes = 0;
  std::string checksum;
};

// Either the one primary (read and ingest; it holds the set's ingest lock) or one of any number of followers
// (read; CatchUp sees what the primary has ingested since). Thread-safe. What Get returns keeps the database
// open until it is dropped. DataLoss of the Open functions and of reads names the file or block that RocksDB
// complains about.
class SetDatabase : public std::enable_shared_from_this<SetDatabase> {
 public:
  // Creates the database on first use. `lock` is the set's ingest lock, held as long as the database is open.
  static absl::StatusOr<std::shared_ptr<SetDatabase>> OpenPrimary(const SetFolder& folder,
                                                                  std::unique_ptr<FileLock> lock,
                                                                  bool direct_reads);
  // Writes nothing into the cache: RocksDB's private folder of a follower is a temporary one, removed on
  // close. NotFound: nobody has created the database yet.
  static absl::StatusOr<std::shared_ptr<SetDatabase>> OpenFollower(const SetFolder& folder,
                                                                   bool direct_reads);
  ~SetDatabase();

  bool is_primary() const { return lock_ != nullptr; }

  // The value, not copied; empty when absent. DataLoss: its bytes or the way to them are damaged.
  absl::StatusOr<std::optional<PinnedBytes>> Get(absl::string_view store_key);
  // The greatest view seed of any key.
  absl::StatusOr<std::optional<uint32_t>> HighestViewSeed();

  // A follower sees what was ingested since; a no-op for the primary.
  absl::Status CatchUp();

  // Primary only: makes the files of a unit visible, all or none, by moving them (hard links: same file
  // system). Their checksums are taken as given. ResourceExhausted: nothing was ingested. DataLoss: a record
  // of the database that lies in the files' way is damaged.
  absl::Status Ingest(const std::vector<SstFile>& files);

  std::vector<TableFile> TableFiles();
  // Bytes that compactions have written since the database was opened.
  absl::StatusOr<uint64_t> CompactionBytesWritten();

 private:
  SetDatabase(const SetFolder& folder, std::unique_ptr<FileLock> lock, bool direct_reads);
  absl::Status CheckComplete();

  // Order matters: the database closes before its lock is freed.
  const SetFolder folder_;
  const std::unique_ptr<FileLock> lock_;
  const bool direct_reads_;
  std::filesystem::path private_folder_;  // of a follower
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace afterimage
