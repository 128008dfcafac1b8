#include "cache_server/storage/contribution.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/rocksdb_options.h"
#include "cache_server/storage/rocksdb_status.h"
#include "cache_server/storage/store_keys.h"
#include "cache_server/storage/unit_marker.h"
#include "cache_server/storage/xxh3_file_checksum.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"
#include "rocksdb/sst_file_reader.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kContributionVersion = 1;
constexpr char kTemporary[] = ".tmp";
constexpr char kDone[] = ".done.tmp";  // a contribution on its way out

std::string UnitNameOf(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name.substr(0, name.find('.'));
}

absl::StatusOr<std::vector<fs::path>> Folders(const fs::path& incoming, bool temporary) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (fs::directory_iterator entry(incoming, error), end; !error && entry != end; entry.increment(error)) {
    if ((entry->path().extension() == kTemporary) == temporary) folders.push_back(entry->path());
  }
  if (error) return ErrnoStatus(error.value(), "list", incoming);
  std::sort(folders.begin(), folders.end());
  return folders;
}

absl::Status RemoveFolder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) return ErrnoStatus(error.value(), "remove", folder);
  return absl::OkStatus();
}

// A folder without its lock file is one that is being made or removed this moment, or that was when its
// process died.
bool IsOld(const fs::path& folder) {
  constexpr auto kOld = std::chrono::minutes(10);
  std::error_code error;
  const fs::file_time_type written = fs::last_write_time(folder, error);
  return !error && fs::file_time_type::clock::now() - written > kOld;
}

}  // namespace

std::string Contribution::Serialize() const {
  Json json{{"version", kContributionVersion}, {"unit", UnitToJson(unit)}, {"worker", worker}};
  json["files"] = Json::array();
  for (const SstFile& file : files) {
    json["files"].push_back(
        {{"name", file.path.filename().string()}, {"checksum", HexEncode(AsBytes(file.checksum))}});
  }
  json["repaired"] = Json::array();
  for (const RecordKey& key : repaired) json["repaired"].push_back(HexEncode(AsBytes(RecordStoreKey(key))));
  return JsonText(json);
}

absl::StatusOr<Contribution> Contribution::Load(const fs::path& folder) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(folder / Contribution::kUnitFile));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json json,
                              ParseJsonObject(text, (folder / Contribution::kUnitFile).string()));
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(json, "version"));
  if (version != kContributionVersion) {
    return absl::FailedPreconditionError(absl::StrCat(folder.string(), ": format version ", version,
                                                      "; this program knows ", kContributionVersion));
  }
  if (!json.contains("unit") || !json.contains("files") || !json["files"].is_array() ||
      !json.contains("repaired") || !json["repaired"].is_array()) {
    return absl::DataLossError(absl::StrCat(folder.string(), ": unit.json lacks unit, files or repaired"));
  }
  Contribution contribution{.folder = folder};
  AFTERIMAGE_ASSIGN_OR_RETURN(contribution.unit, UnitFromJson(json["unit"]));
  AFTERIMAGE_ASSIGN_OR_RETURN(contribution.worker, TextField(json, "worker"));
  for (const Json& file : json["files"]) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string name, TextField(file, "name"));
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string checksum, TextField(file, "checksum"));
    SstFile sst{.path = folder / fs::path(name).filename()};
    AFTERIMAGE_ASSIGN_OR_RETURN(sst.checksum, HexDecode(checksum));
    std::error_code error;
    if (!fs::exists(sst.path, error))
      return absl::DataLossError(absl::StrCat(sst.path.string(), " is missing"));
    contribution.files.push_back(std::move(sst));
  }
  for (const Json& key : json["repaired"]) {
    if (!key.is_string())
      return absl::DataLossError(absl::StrCat(folder.string(), ": a repaired key is not text"));
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string bytes, HexDecode(key.get<std::string>()));
    const std::optional<RecordKey> parsed = ParseRecordStoreKey(bytes);
    if (!parsed.has_value()) return absl::DataLossError(absl::StrCat(folder.string(), ": bad repaired key"));
    contribution.repaired.push_back(*parsed);
  }
  return contribution;
}

absl::Status Contribution::VerifyFiles() const {
  for (const SstFile& file : files) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string checksum, ChecksumOfFile(file.path));
    if (checksum != file.checksum) {
      return absl::DataLossError(absl::StrCat(file.path.string(), " has the checksum ",
                                              HexEncode(AsBytes(checksum)), ", written with ",
                                              HexEncode(AsBytes(file.checksum))));
    }
  }
  return absl::OkStatus();
}

absl::Status Contribution::ForEachRecord(
    const std::function<absl::Status(const RecordKey& key, ByteSpan block)>& visit) const {
  for (const SstFile& file : files) {
    rocksdb::SstFileReader reader(SetDatabaseOptions(/*direct_reads=*/false));
    AFTERIMAGE_RETURN_IF_ERROR(FromRocksDb(reader.Open(file.path.string()), file.path.string()));
    const std::unique_ptr<rocksdb::Iterator> entry(reader.NewIterator(RecordReadOptions(/*verify_checksums=*/true)));
    for (entry->SeekToFirst(); entry->Valid(); entry->Next()) {
      const std::optional<RecordKey> key = ParseRecordStoreKey({entry->key().data(), entry->key().size()});
      if (!key.has_value()) continue;
      const ByteSpan block(reinterpret_cast<const uint8_t*>(entry->value().data()), entry->value().size());
      AFTERIMAGE_RETURN_IF_ERROR(visit(*key, block));
    }
    AFTERIMAGE_RETURN_IF_ERROR(FromRocksDb(entry->status(), file.path.string()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::set<std::string>> WaitingUnits(const fs::path& incoming) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<fs::path> folders, Folders(incoming, false));
  std::set<std::string> names;
  for (const fs::path& folder : folders) names.insert(UnitNameOf(folder));
  return names;
}

absl::StatusOr<std::vector<fs::path>> WaitingContributions(const fs::path& incoming,
                                                           const std::string& unit_name) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<fs::path> folders, Folders(incoming, false));
  if (!unit_name.empty()) {
    std::erase_if(folders, [&](const fs::path& folder) { return UnitNameOf(folder) != unit_name; });
  }
  return folders;
}

absl::Status RemoveLeftovers(const fs::path& incoming) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<fs::path> folders, Folders(incoming, true));
  for (const fs::path& folder : folders) {
    std::error_code error;
    if (!fs::exists(folder / Contribution::kAliveFile, error)) {
      if (IsOld(folder) || absl::EndsWith(folder.string(), kDone)) {
        AFTERIMAGE_RETURN_IF_ERROR(RemoveFolder(folder));
      }
      continue;
    }
    absl::StatusOr<std::unique_ptr<FileLock>> lock = FileLock::Try(folder / Contribution::kAliveFile);
    if (absl::IsNotFound(lock.status())) continue;  // renamed or removed meanwhile
    if (!lock.ok()) return lock.status();
    if (*lock != nullptr) AFTERIMAGE_RETURN_IF_ERROR(RemoveContribution(folder));
  }
  return absl::OkStatus();
}

absl::Status RemoveContribution(const fs::path& folder) {
  fs::path aside = folder;
  aside += kDone;
  if (rename(folder.c_str(), aside.c_str()) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return ErrnoStatus(errno, "rename", folder);
  }
  return RemoveFolder(aside);
}

}  // namespace afterimage
