#include "cache_server/storage/set_database.h"

#include <cstdlib>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cache_server/storage/block_checks.h"
#include "cache_server/storage/rocksdb_options.h"
#include "cache_server/storage/rocksdb_status.h"
#include "cache_server/storage/xxh3_file_checksum.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "rocksdb/db.h"
#include "rocksdb/metadata.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

// A follower's messages go nowhere: a reader leaves no log behind.
class SilentLogger : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

// Keeps a value where RocksDB read it, and the database open.
struct PinnedValue {
  std::shared_ptr<SetDatabase> database;
  rocksdb::PinnableSlice slice;  // dropped first
};

rocksdb::Slice AsSlice(absl::string_view text) { return {text.data(), text.size()}; }

absl::StatusOr<fs::path> MakePrivateFolder() {
  std::error_code error;
  const fs::path parent = fs::temp_directory_path(error);
  if (error) return ErrnoStatus(error.value(), "find the folder for temporary files", parent);
  std::string pattern = (parent / "afterimage_reader.XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) return ErrnoStatus(errno, "create temporary folder", pattern);
  return fs::path(pattern);
}

// A database that cannot be opened is lost data, also where RocksDB says that a file is missing.
absl::Status OpenError(const rocksdb::Status& status, const SetFolder& folder) {
  const std::string context = absl::StrCat("set ", folder.id().Hex(), ": open ", folder.database().string());
  const absl::Status converted = FromRocksDb(status, context);
  if (!absl::IsNotFound(converted) && !absl::IsDataLoss(converted) && !absl::IsInternal(converted)) {
    return converted;
  }
  return absl::DataLossError(absl::StrCat(
      converted.message(), "; other sets are not affected. Restore the file, or remove the folder ",
      folder.root().string(), " and compute the set again"));
}

}  // namespace

SetDatabase::SetDatabase(const SetFolder& folder, std::unique_ptr<FileLock> lock, bool direct_reads)
    : folder_(folder), lock_(std::move(lock)), direct_reads_(direct_reads) {}

SetDatabase::~SetDatabase() {
  if (db_ != nullptr) db_->Close().PermitUncheckedError();
  db_.reset();
  if (!private_folder_.empty()) {
    std::error_code ignored;
    fs::remove_all(private_folder_, ignored);
  }
}

absl::StatusOr<std::shared_ptr<SetDatabase>> SetDatabase::OpenPrimary(const SetFolder& folder,
                                                                      std::unique_ptr<FileLock> lock,
                                                                      bool direct_reads) {
  std::shared_ptr<SetDatabase> database(new SetDatabase(folder, std::move(lock), direct_reads));
  rocksdb::Options options = SetDatabaseOptions(direct_reads);
  options.create_if_missing = true;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, folder.database().string(), &db);
  if (!status.ok()) return OpenError(status, folder);
  database->db_.reset(db);
  return database;
}

absl::StatusOr<std::shared_ptr<SetDatabase>> SetDatabase::OpenFollower(const SetFolder& folder,
                                                                       bool direct_reads) {
  std::error_code error;
  if (!fs::exists(folder.database() / "CURRENT", error)) {
    return absl::NotFoundError(absl::StrCat("set ", folder.id().Hex(), " has no database yet"));
  }
  std::shared_ptr<SetDatabase> database(new SetDatabase(folder, nullptr, direct_reads));
  AFTERIMAGE_ASSIGN_OR_RETURN(database->private_folder_, MakePrivateFolder());
  rocksdb::Options options = SetDatabaseOptions(direct_reads);
  options.info_log = std::make_shared<SilentLogger>();
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenAsSecondary(options, folder.database().string(),
                                                              database->private_folder_.string(), &db);
  if (!status.ok()) return OpenError(status, folder);
  database->db_.reset(db);
  AFTERIMAGE_RETURN_IF_ERROR(database->CheckComplete());
  return database;
}

absl::Status SetDatabase::CheckComplete() {
  // A follower falls back in silence to the newest state whose files it can open. A table file that it does
  // not use is either being ingested right now or damaged: opening strictly tells which.
  std::error_code error;
  size_t num_files_on_disk = 0;
  for (fs::directory_iterator entry(folder_.database(), error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".sst") ++num_files_on_disk;
  }
  if (num_files_on_disk <= TableFiles().size()) return absl::OkStatus();
  rocksdb::Options options = SetDatabaseOptions(direct_reads_);
  options.info_log = std::make_shared<SilentLogger>();
  rocksdb::DB* strict = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(options, folder_.database().string(), &strict);
  delete strict;
  return status.ok() ? absl::OkStatus() : OpenError(status, folder_);
}

absl::StatusOr<std::optional<PinnedBytes>> SetDatabase::Get(absl::string_view store_key) {
  auto value = std::make_shared<PinnedValue>();
  const auto get = [&](bool verify_checksums) {
    return db_->Get(RecordReadOptions(verify_checksums), db_->DefaultColumnFamily(), AsSlice(store_key),
                    &value->slice);
  };
  rocksdb::Status status;
  if (!direct_reads_) {
    const CheckBlocks checks;
    status = get(/*verify_checksums=*/false);
  }
  if (direct_reads_ || status.IsCorruption()) {
    value->slice.Reset();
    status = get(/*verify_checksums=*/true);
  }
  if (status.IsNotFound()) return std::optional<PinnedBytes>();
  if (!status.ok()) return FromRocksDb(status, folder_.database().string());
  value->database = shared_from_this();
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(value->slice.data()), value->slice.size());
  return std::optional<PinnedBytes>(PinnedBytes{bytes, std::move(value), /*verified=*/true});
}

absl::StatusOr<std::optional<uint32_t>> SetDatabase::HighestViewSeed() {
  // From the files' key ranges: an iterator would read, and may stumble over, the last record.
  std::vector<rocksdb::LiveFileMetaData> files;
  db_->GetLiveFilesMetaData(&files);
  std::optional<uint32_t> highest;
  for (const rocksdb::LiveFileMetaData& file : files) {
    if (file.largestkey.size() < 4) {
      return absl::DataLossError(
          absl::StrCat(file.directory, file.relative_filename, ": a key is too short"));
    }
    uint32_t seed = 0;
    for (size_t i = 0; i < 4; ++i) seed = (seed << 8) | static_cast<uint8_t>(file.largestkey[i]);
    highest = std::max(highest.value_or(0), seed);
  }
  return highest;
}

absl::Status SetDatabase::CatchUp() {
  if (is_primary()) return absl::OkStatus();
  return FromRocksDb(db_->TryCatchUpWithPrimary(), absl::StrCat("follow ", folder_.database().string()));
}

absl::Status SetDatabase::Ingest(const std::vector<SstFile>& files) {
  rocksdb::IngestExternalFileArg arguments;
  arguments.column_family = db_->DefaultColumnFamily();
  for (const SstFile& file : files) {
    arguments.external_files.push_back(file.path.string());
    arguments.files_checksums.push_back(file.checksum);
    arguments.files_checksum_func_names.push_back(kFileChecksumName);
  }
  arguments.options.move_files = true;
  arguments.options.failed_move_fall_back_to_copy = false;
  arguments.options.write_global_seqno = false;  // files are never changed once written
  arguments.options.verify_file_checksum = false;
  rocksdb::Status status = db_->IngestExternalFiles({arguments});
  if (status.ok()) return absl::OkStatus();
  // After a failed write of its MANIFEST (disk full) RocksDB refuses all until it is told that the cause is
  // gone.
  db_->Resume().PermitUncheckedError();
  return FromRocksDb(status, absl::StrCat("ingest into ", folder_.database().string()));
}

std::vector<TableFile> SetDatabase::TableFiles() {
  std::vector<rocksdb::LiveFileMetaData> files;
  db_->GetLiveFilesMetaData(&files);
  std::vector<TableFile> tables;
  for (const rocksdb::LiveFileMetaData& file : files) {
    tables.push_back({fs::path(file.directory) / fs::path(file.relative_filename).relative_path(), file.level,
                      file.size, file.file_checksum});
  }
  return tables;
}

absl::StatusOr<uint64_t> SetDatabase::CompactionBytesWritten() {
  std::map<std::string, std::string> statistics;
  double gibibytes = 0;
  constexpr char kName[] = "compaction.Sum.WriteGB";
  if (!db_->GetMapProperty(rocksdb::DB::Properties::kCFStats, &statistics) || !statistics.contains(kName) ||
      !absl::SimpleAtod(statistics[kName], &gibibytes)) {
    return absl::InternalError(absl::StrCat("this RocksDB has no statistic ", kName));
  }
  return static_cast<uint64_t>(gibibytes * (uint64_t{1} << 30));
}

}  // namespace afterimage
