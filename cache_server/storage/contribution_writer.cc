#include "cache_server/storage/contribution_writer.h"

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cache_server/storage/rocksdb_options.h"
#include "cache_server/storage/rocksdb_status.h"
#include "cache_server/storage/store_keys.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "rocksdb/sst_file_writer.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

// A folder name: what a worker calls itself may hold anything.
std::string FileNameOf(const std::string& worker) {
  constexpr size_t kLongest = 64;
  std::string name = worker.substr(0, kLongest);
  for (char& c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    if (!plain) c = '_';
  }
  return name;
}

fs::path FolderOf(const SetFolder& folder, const UnitLease& lease) {
  return folder.incoming() /
         absl::StrCat(lease.unit.ToString(), ".", FileNameOf(lease.worker), "-", lease.token.substr(0, 8));
}

// The disk begins to write while the teacher still computes, so that little is left for the sync at the end.
rocksdb::EnvOptions EarlyWriteback() {
  rocksdb::EnvOptions options;
  options.bytes_per_sync = 1 << 20;
  return options;
}

}  // namespace

struct ContributionWriter::Table {
  // The pages stay in the cache: a training often follows, and the kernel knows best what else it needs.
  explicit Table(const rocksdb::Options& options)
      : writer(EarlyWriteback(), options, /*column_family=*/nullptr, /*invalidate_page_cache=*/false) {}

  absl::Status Put(const std::string& key, const rocksdb::Slice& value) {
    return FromRocksDb(writer.Put(key, value), absl::StrCat("write ", path.string()));
  }

  fs::path path;
  rocksdb::SstFileWriter writer;
};

ContributionWriter::ContributionWriter(const SetFolder& folder, const UnitLease& lease, uint32_t num_shards,
                                       int attempt)
    : final_folder_(FolderOf(folder, lease)),
      temporary_folder_(absl::StrCat(final_folder_.string(), ".", attempt, ".tmp")),
      num_shards_(num_shards),
      contribution_{.folder = temporary_folder_, .unit = lease.unit, .worker = lease.worker} {}

absl::StatusOr<std::unique_ptr<ContributionWriter>> ContributionWriter::Open(const SetFolder& folder,
                                                                             const UnitLease& lease,
                                                                             uint32_t num_shards,
                                                                             int attempt) {
  std::unique_ptr<ContributionWriter> writer(new ContributionWriter(folder, lease, num_shards, attempt));
  const fs::path alive = writer->temporary_folder_ / Contribution::kAliveFile;
  // A new ingester that removes leftovers may come between the file and its lock: then once more.
  constexpr int kTries = 5;
  for (int i = 0; i < kTries; ++i) {
    AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(writer->temporary_folder_));
    absl::StatusOr<std::unique_ptr<FileLock>> lock = FileLock::Try(alive);
    if (!lock.ok() && !absl::IsNotFound(lock.status())) return lock.status();
    std::error_code error;
    if (!lock.ok() || *lock == nullptr || !fs::exists(alive, error)) continue;
    writer->alive_ = *std::move(lock);
    return writer;
  }
  return absl::UnavailableError(
      absl::StrCat("cannot lock ", alive.string(), "; another process removes leftovers"));
}

ContributionWriter::~ContributionWriter() {
  tables_.clear();
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(temporary_folder_, ignored);
}

absl::StatusOr<ContributionWriter::Table*> ContributionWriter::TableOf(uint32_t view_seed) {
  std::unique_ptr<Table>& table = tables_[view_seed];
  if (table != nullptr) return table.get();
  table = std::make_unique<Table>(SetDatabaseOptions(/*direct_reads=*/false));
  table->path = temporary_folder_ / absl::StrFormat("%08x.sst", view_seed);
  AFTERIMAGE_RETURN_IF_ERROR(
      FromRocksDb(table->writer.Open(table->path.string()), absl::StrCat("write ", table->path.string())));
  AFTERIMAGE_RETURN_IF_ERROR(table->Put(FenceStoreKey(contribution_.unit, view_seed, num_shards_), {}));
  return table.get();
}

absl::Status ContributionWriter::Add(const RecordKey& key, ByteSpan block) {
  AFTERIMAGE_ASSIGN_OR_RETURN(Table* const table, TableOf(key.view_seed));
  return table->Put(RecordStoreKey(key), {reinterpret_cast<const char*>(block.data()), block.size()});
}

absl::Status ContributionWriter::FinishTables() {
  for (const auto& [view_seed, table] : tables_) {
    rocksdb::ExternalSstFileInfo information;
    // Finish syncs the file.
    const rocksdb::Status status = table->writer.Finish(&information);
    AFTERIMAGE_RETURN_IF_ERROR(FromRocksDb(status, absl::StrCat("write ", table->path.string())));
    contribution_.files.push_back({table->path, information.file_checksum});
  }
  tables_.clear();
  return absl::OkStatus();
}

absl::Status ContributionWriter::ForEachRecord(
    const std::function<absl::Status(const RecordKey& key, ByteSpan block)>& visit) {
  AFTERIMAGE_RETURN_IF_ERROR(FinishTables());
  return contribution_.ForEachRecord(visit);
}

absl::StatusOr<Contribution> ContributionWriter::Commit(const UnitMarker& marker,
                                                        std::vector<RecordKey> repaired) {
  const UnitId& unit = contribution_.unit;
  for (uint32_t seed = unit.seed_begin; seed < unit.seed_end; ++seed) {
    AFTERIMAGE_RETURN_IF_ERROR(TableOf(seed).status());
  }
  AFTERIMAGE_RETURN_IF_ERROR(
      tables_[unit.seed_begin]->Put(MarkerStoreKey(unit, unit.seed_begin, num_shards_), marker.Serialize()));
  AFTERIMAGE_RETURN_IF_ERROR(FinishTables());
  contribution_.folder = final_folder_;
  for (SstFile& file : contribution_.files) file.path = final_folder_ / file.path.filename();
  contribution_.repaired = std::move(repaired);
  AFTERIMAGE_RETURN_IF_ERROR(
      WriteFileAtomically(temporary_folder_ / Contribution::kUnitFile, contribution_.Serialize()));
  AFTERIMAGE_RETURN_IF_ERROR(SyncDirectory(temporary_folder_));
  if (rename(temporary_folder_.c_str(), final_folder_.c_str()) != 0) {
    return ErrnoStatus(errno, "rename to", final_folder_);
  }
  committed_ = true;
  alive_.reset();
  AFTERIMAGE_RETURN_IF_ERROR(SyncDirectory(final_folder_.parent_path()));
  return contribution_;
}

}  // namespace afterimage
