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

fs::path WithSuffix(fs::path path, const char* suffix) {
  path += suffix;
  return path;
}

rocksdb::Slice AsSlice(const std::string& text) { return rocksdb::Slice(text); }

}  // namespace

struct ContributionWriter::Table {
  explicit Table(const rocksdb::Options& options) : writer(rocksdb::EnvOptions(), options) {}

  fs::path path;
  rocksdb::SstFileWriter writer;
};

ContributionWriter::ContributionWriter(const SetFolder& folder, const UnitLease& lease, uint32_t num_shards,
                                       UnitMarker marker)
    : final_folder_(FolderOf(folder, lease)),
      temporary_folder_(WithSuffix(final_folder_, ".tmp")),
      num_shards_(num_shards),
      marker_(marker.Serialize()),
      contribution_{.folder = final_folder_, .unit = lease.unit, .worker = lease.worker} {}

absl::StatusOr<std::unique_ptr<ContributionWriter>> ContributionWriter::Open(const SetFolder& folder,
                                                                             const UnitLease& lease,
                                                                             uint32_t num_shards,
                                                                             UnitMarker marker) {
  std::unique_ptr<ContributionWriter> writer(
      new ContributionWriter(folder, lease, num_shards, std::move(marker)));
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
  table_.reset();
  if (committed_) return;
  std::error_code ignored;
  fs::remove_all(temporary_folder_, ignored);
}

absl::Status ContributionWriter::BeginSeed(uint32_t view_seed) {
  AFTERIMAGE_RETURN_IF_ERROR(FinishTable());
  table_ = std::make_unique<Table>(SetDatabaseOptions(/*direct_reads=*/false));
  table_->path = temporary_folder_ / absl::StrFormat("%08x.sst", view_seed);
  const std::string context = absl::StrCat("write ", table_->path.string());
  AFTERIMAGE_RETURN_IF_ERROR(FromRocksDb(table_->writer.Open(table_->path.string()), context));
  const std::string key = MarkerStoreKey(contribution_.unit, view_seed, num_shards_);
  return FromRocksDb(table_->writer.Put(AsSlice(key), AsSlice(marker_)), context);
}

absl::Status ContributionWriter::Add(const RecordKey& key, ByteSpan block) {
  const std::string store_key = RecordStoreKey(key);
  const rocksdb::Slice value(reinterpret_cast<const char*>(block.data()), block.size());
  return FromRocksDb(table_->writer.Put(AsSlice(store_key), value),
                     absl::StrCat("write ", table_->path.string()));
}

absl::Status ContributionWriter::FinishTable() {
  if (table_ == nullptr) return absl::OkStatus();
  rocksdb::ExternalSstFileInfo information;
  // Finish syncs the file.
  const rocksdb::Status status = table_->writer.Finish(&information);
  AFTERIMAGE_RETURN_IF_ERROR(FromRocksDb(status, absl::StrCat("write ", table_->path.string())));
  contribution_.files.push_back({final_folder_ / table_->path.filename(), information.file_checksum});
  table_.reset();
  return absl::OkStatus();
}

absl::StatusOr<Contribution> ContributionWriter::Commit(std::vector<RecordKey> repaired) {
  AFTERIMAGE_RETURN_IF_ERROR(FinishTable());
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
