#include "cache_server/storage/folder_catalog.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/folder_unit_ledger.h"
#include "cache_server/storage/rocksdb_feature_store.h"
#include "cache_server/storage/rocksdb_unit_publisher.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

constexpr char kCacheName[] = "CACHE";
constexpr char kFormatName[] = "afterimage cache";

std::string CacheText() {
  return absl::StrCat(JsonText(Json{{"format", kFormatName}, {"version", kCacheFormatVersion}}), "\n");
}

absl::Status CheckCacheText(absl::string_view text, const fs::path& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, (path / kCacheName).string()));
  const absl::StatusOr<std::string> format = TextField(json, "format");
  if (!format.ok() || *format != kFormatName) {
    return absl::FailedPreconditionError(
        absl::StrCat((path / kCacheName).string(), " is not of an Afterimage cache"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(json, "version"));
  if (version == kCacheFormatVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the cache ", path.string(), " has format version ",
                                                    version, "; this program knows version ",
                                                    kCacheFormatVersion));
}

// True if the folder has things in it that are not ours, nor a fresh disk's.
absl::StatusOr<bool> HasOtherFiles(const fs::path& path) {
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    // CACHE.*.tmp: another process is creating the same cache this moment.
    if (!absl::StartsWith(name, kCacheName) && name != "lost+found") return true;
  }
  if (error) return ErrnoStatus(error.value(), "look into", path);
  return false;
}

absl::Status CreateCache(const fs::path& path) {
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(path));
  AFTERIMAGE_ASSIGN_OR_RETURN(const bool has_other_files, HasOtherFiles(path));
  std::error_code error;
  // Asked afterwards: what was seen may belong to a cache that came into being in between.
  if (has_other_files && !fs::exists(path / kCacheName, error)) {
    return absl::FailedPreconditionError(absl::StrCat(path.string(),
                                                      " holds other files and is no cache (it has no file ",
                                                      kCacheName, "); name an empty or a new folder"));
  }
  return CreateFileExclusively(path / kCacheName, CacheText()).status();
}

}  // namespace

FolderCatalog::FolderCatalog(const fs::path& path, FolderCatalogOptions options)
    : path_(path),
      manifests_(std::make_shared<ManifestFolder>(path / "manifests")),
      profiles_(path / "profiles"),
      choices_(path / "choices", options.clock),
      options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<FolderCatalog>> FolderCatalog::Open(const fs::path& path,
                                                                   FolderCatalogOptions options) {
  absl::StatusOr<std::string> text = ReadFile(path / kCacheName);
  if (absl::IsNotFound(text.status()) && options.create) {
    AFTERIMAGE_RETURN_IF_ERROR(CreateCache(path));
    text = ReadFile(path / kCacheName);
  }
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat("there is no cache at ", path.string(), " (it has no file ",
                                            kCacheName, "); afterimage-precompute makes one"));
  }
  if (!text.ok()) return text.status();
  AFTERIMAGE_RETURN_IF_ERROR(CheckCacheText(*text, path));
  return std::unique_ptr<FolderCatalog>(new FolderCatalog(path, std::move(options)));
}

absl::StatusOr<SetDescription> FolderCatalog::CreateSet(const SetDescription& description) {
  AFTERIMAGE_RETURN_IF_ERROR(description.Validate());
  AFTERIMAGE_RETURN_IF_ERROR(ProfileOfSet(*this, description).status());
  const SetFolder folder(path_, description.set.Id());
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(folder.root()));
  AFTERIMAGE_RETURN_IF_ERROR(CreateFileExclusively(folder.spec(), description.Serialize()).status());
  return ReadDescription(folder.id());
}

absl::StatusOr<SetDescription> FolderCatalog::ReadDescription(const Digest256& set_id) const {
  const SetFolder folder(path_, set_id);
  const absl::StatusOr<std::string> text = ReadFile(folder.spec());
  if (absl::IsNotFound(text.status())) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> known, DigestsIn(path_ / "sets"));
    std::string list;
    for (const Digest256& id : known) absl::StrAppend(&list, "\n  ", id.Hex());
    return absl::NotFoundError(absl::StrCat("no set ", set_id.Hex(), " in ", path_.string(),
                                            "; there is: ", list.empty() ? "nothing" : list));
  }
  if (!text.ok()) return text.status();
  absl::StatusOr<SetDescription> description = SetDescription::Parse(*text);
  if (!description.ok()) {
    const absl::Status status = WithContext(description.status(), folder.spec().string());
    if (absl::IsFailedPrecondition(status)) return status;
    return absl::DataLossError(status.message());
  }
  if (description->set.Id() != set_id) {
    return absl::DataLossError(
        absl::StrCat(folder.spec().string(), " describes the set ", description->set.Id().Hex()));
  }
  return description;
}

absl::StatusOr<std::shared_ptr<SetSession>> FolderCatalog::Session(const Digest256& set_id, OpenMode mode) {
  AFTERIMAGE_ASSIGN_OR_RETURN(SetDescription description, ReadDescription(set_id));
  const KeyedMutex<Digest256>::Lock opening(opening_, set_id);
  std::shared_ptr<SetSession> session;
  FolderCatalogOptions options;
  {
    std::lock_guard lock(mutex_);
    session = contributors_[set_id].lock();
    if (session == nullptr && mode == OpenMode::kRead) session = readers_[set_id].lock();
    options = options_;
  }
  if (session != nullptr) {
    AFTERIMAGE_RETURN_IF_ERROR(session->Refresh());
    return session;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(session,
                              SetSession::Open(SetFolder(path_, set_id), std::move(description), mode,
                                               {.quota_bytes = options.quota_bytes,
                                                .unit_memory_bytes = options.unit_memory_bytes,
                                                .poll_interval = options.poll_interval,
                                                .direct_reads = options.direct_reads,
                                                .clock = options.clock}));
  std::lock_guard lock(mutex_);
  if (options_.quota_bytes != options.quota_bytes) session->budget().SetQuota(options_.quota_bytes);
  (mode == OpenMode::kRead ? readers_ : contributors_)[set_id] = session;
  return session;
}

absl::StatusOr<OpenedSet> FolderCatalog::OpenSet(const Digest256& set_id, OpenMode mode) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<SetSession> session, Session(set_id, mode));
  AFTERIMAGE_ASSIGN_OR_RETURN(auto profile, ProfileOfSet(*this, session->description()));
  OpenedSet opened{.id = set_id, .store = std::make_shared<RocksDbFeatureStore>(session, std::move(profile))};
  if (mode == OpenMode::kContribute) {
    opened.ledger = std::make_shared<FolderUnitLedger>(session, manifests_);
    opened.publisher = std::make_shared<RocksDbUnitPublisher>(session, manifests_);
  }
  return opened;
}

absl::StatusOr<std::vector<SetSummary>> FolderCatalog::ListSets() {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> ids, DigestsIn(path_ / "sets"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto names, ListNames());
  std::vector<SetSummary> summaries;
  for (const Digest256& id : ids) {
    absl::StatusOr<SetDescription> description = ReadDescription(id);
    if (absl::IsNotFound(description.status())) continue;  // being created
    if (!description.ok()) return description.status();
    SetSummary summary{.id = id, .description = *std::move(description)};
    const absl::StatusOr<std::shared_ptr<SetSession>> session = Session(id, OpenMode::kRead);
    if (session.ok()) {
      AFTERIMAGE_ASSIGN_OR_RETURN(summary, SummarizeSet(**session, *manifests_));
    } else if (!absl::IsDataLoss(session.status())) {
      return session.status();
    }
    for (const auto& [name, target] : names) {
      if (target == id) summary.aliases.push_back(name);
    }
    summaries.push_back(std::move(summary));
  }
  return summaries;
}

absl::StatusOr<std::vector<FailureEntry>> FolderCatalog::ListFailures(const Digest256& set_id, size_t limit) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<SetSession> session, Session(set_id, OpenMode::kRead));
  return FailuresOfSet(*session, *manifests_, limit);
}

absl::StatusOr<VerifyReport> FolderCatalog::VerifySet(const Digest256& set_id,
                                                      const VerifyProgress& progress) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<SetSession> session, Session(set_id, OpenMode::kRead));
  return VerifySetContent(*session, *manifests_, progress);
}

void FolderCatalog::SetQuota(uint64_t quota_bytes) {
  std::lock_guard lock(mutex_);
  options_.quota_bytes = quota_bytes;
  for (const auto& [id, contributor] : contributors_) {
    if (const std::shared_ptr<SetSession> session = contributor.lock())
      session->budget().SetQuota(quota_bytes);
  }
}

absl::Status FolderCatalog::MarkDamaged(const Digest256& set_id, const std::vector<RecordKey>& keys) {
  AFTERIMAGE_RETURN_IF_ERROR(ReadDescription(set_id).status());
  return DamageList(SetFolder(path_, set_id).damaged()).Add(keys);
}

absl::StatusOr<SetFileStatistics> FolderCatalog::FileStatistics(const Digest256& set_id) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<SetSession> session, Session(set_id, OpenMode::kRead));
  SetFileStatistics statistics;
  const std::shared_ptr<SetDatabase> database = session->database();
  if (database == nullptr) return statistics;
  for (const TableFile& file : database->TableFiles()) {
    const size_t level = static_cast<size_t>(file.level);
    if (statistics.files_per_level.size() <= level) statistics.files_per_level.resize(level + 1);
    ++statistics.files_per_level[level];
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(statistics.compaction_bytes_written, database->CompactionBytesWritten());
  return statistics;
}

}  // namespace afterimage
