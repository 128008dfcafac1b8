#include "cache_server/storage/set_session.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/store_keys.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"

namespace afterimage {

SetSession::SetSession(const SetFolder& folder, SetDescription description, OpenMode mode,
                       SetSessionOptions options)
    : folder_(folder),
      description_(std::move(description)),
      mode_(mode),
      options_(std::move(options)),
      leases_(folder.leases(), options_.clock),
      budget_(folder, options_.quota_bytes),
      damage_(folder.damaged()) {}

absl::StatusOr<std::shared_ptr<SetSession>> SetSession::Open(const SetFolder& folder,
                                                             SetDescription description, OpenMode mode,
                                                             SetSessionOptions options) {
  std::shared_ptr<SetSession> session(
      new SetSession(folder, std::move(description), mode, std::move(options)));
  if (mode == OpenMode::kRead) {
    AFTERIMAGE_RETURN_IF_ERROR(session->Refresh());
    return session;
  }
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(folder.incoming()));
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(folder.leases()));
  AFTERIMAGE_RETURN_IF_ERROR(session->Poll());
  session->background_ = std::thread([raw = session.get()] { raw->RunBackground(); });
  return session;
}

SetSession::~SetSession() {
  if (!background_.joinable()) return;
  {
    std::lock_guard lock(stop_mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  background_.join();
  HandOver();
}

void SetSession::HandOver() {
  // The last contributor to leave ingests what the others left. One that is leaving this moment holds the
  // lock still but looks no more: so wait until what is ours was taken. After an error, or too long, it stays
  // for the next contributor.
  constexpr int kLooks = 100;
  constexpr absl::Duration kBetween = absl::Milliseconds(50);
  for (int look = 0; look < kLooks; ++look) {
    if (!Poll().ok() || is_ingester()) return;
    const auto waiting = WaitingContributions(folder_.incoming());
    if (!waiting.ok() || waiting->empty()) return;
    absl::SleepFor(kBetween);
  }
}

void SetSession::RunBackground() {
  std::unique_lock lock(stop_mutex_);
  while (!stop_changed_.wait_for(lock, absl::ToChronoNanoseconds(options_.poll_interval),
                                 [&] { return stop_; })) {
    lock.unlock();
    // Its errors come up again, and are reported, at the next claim or publication.
    Poll().IgnoreError();
    lock.lock();
  }
}

std::shared_ptr<SetDatabase> SetSession::database() const {
  std::lock_guard lock(mutex_);
  return database_;
}

bool SetSession::is_ingester() const {
  const std::shared_ptr<SetDatabase> current = database();
  return current != nullptr && current->is_primary();
}

absl::StatusOr<std::optional<PinnedBytes>> SetSession::Get(absl::string_view store_key) const {
  const std::shared_ptr<SetDatabase> current = database();
  if (current == nullptr) return std::optional<PinnedBytes>();
  return current->Get(store_key);
}

absl::StatusOr<HeldRecord> SetSession::Find(const RecordKey& key) const {
  const absl::StatusOr<std::optional<PinnedBytes>> value = Get(RecordStoreKey(key));
  if (absl::IsDataLoss(value.status())) return HeldRecord{HeldRecord::State::kDamaged};
  if (!value.ok()) return value.status();
  if (!value->has_value()) return HeldRecord{};
  const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse((*value)->bytes);
  if (!block.ok()) return HeldRecord{HeldRecord::State::kDamaged};
  return HeldRecord{HeldRecord::State::kHeld, block->record_digest(), block->is_failure()};
}

absl::StatusOr<std::optional<UnitMarker>> SetSession::FindMarker(const UnitId& unit) {
  const MarkerKey key(unit.manifest, unit.shard, unit.seed_begin);
  {
    std::lock_guard lock(mutex_);
    const auto known = markers_.find(key);
    if (known != markers_.end() && known->second.unit.seed_end >= unit.seed_end) {
      return std::optional<UnitMarker>(known->second);
    }
  }
  const absl::StatusOr<std::optional<PinnedBytes>> value =
      Get(MarkerStoreKey(unit, unit.seed_begin, description_.layout.num_shards));
  if (absl::IsDataLoss(value.status())) return std::optional<UnitMarker>(UnitMarker{.unit = unit});
  if (!value.ok()) return value.status();
  if (!value->has_value()) return std::optional<UnitMarker>();
  const ByteSpan bytes = (*value)->bytes;
  AFTERIMAGE_ASSIGN_OR_RETURN(UnitMarker marker,
                              UnitMarker::Parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  // The same first seed under a smaller K: an earlier unit that ended before this one does.
  if (marker.unit.seed_end < unit.seed_end) return std::optional<UnitMarker>();
  std::lock_guard lock(mutex_);
  markers_[key] = marker;
  return std::optional<UnitMarker>(std::move(marker));
}

absl::StatusOr<std::vector<UnitMarker>> SetSession::Markers(const std::vector<Digest256>& manifests) {
  std::vector<UnitMarker> markers;
  const std::shared_ptr<SetDatabase> current = database();
  if (current == nullptr) return markers;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<uint32_t> highest, current->HighestViewSeed());
  if (!highest.has_value()) return markers;
  const UnitLayout& layout = description_.layout;
  for (const Digest256& manifest : manifests) {
    for (uint32_t shard = 0; shard < layout.num_shards; ++shard) {
      for (uint64_t seed = 0; seed <= *highest; seed += layout.seeds_per_unit) {
        const uint32_t begin = static_cast<uint32_t>(seed);
        AFTERIMAGE_ASSIGN_OR_RETURN(std::optional<UnitMarker> marker,
                                    FindMarker({manifest, shard, begin, begin + 1}));
        if (marker.has_value()) markers.push_back(*std::move(marker));
      }
    }
  }
  return markers;
}

absl::Status SetSession::Refresh() {
  if (contributes()) return Poll();
  std::lock_guard role_lock(role_mutex_);
  return Follow();
}

absl::Status SetSession::Follow() {
  const std::shared_ptr<SetDatabase> current = database();
  if (current != nullptr) return current->CatchUp();
  absl::StatusOr<std::shared_ptr<SetDatabase>> follower =
      SetDatabase::OpenFollower(folder_, options_.direct_reads);
  if (absl::IsNotFound(follower.status())) return absl::OkStatus();  // nothing was published yet
  if (!follower.ok()) return follower.status();
  std::lock_guard lock(mutex_);
  database_ = *std::move(follower);
  return absl::OkStatus();
}

absl::Status SetSession::Poll() {
  std::lock_guard role_lock(role_mutex_);
  if (!is_ingester()) AFTERIMAGE_RETURN_IF_ERROR(BecomeIngester());
  if (!is_ingester()) return Follow();
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto folders, WaitingContributions(folder_.incoming()));
  for (const std::filesystem::path& folder : folders) AFTERIMAGE_RETURN_IF_ERROR(IngestFolder(folder));
  return absl::OkStatus();
}

absl::Status SetSession::BecomeIngester() {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, FileLock::Try(folder_.ingest_lock()));
  if (lock == nullptr) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<SetDatabase> primary,
                              SetDatabase::OpenPrimary(folder_, std::move(lock), options_.direct_reads));
  AFTERIMAGE_RETURN_IF_ERROR(RemoveLeftovers(folder_.incoming()));
  std::lock_guard guard(mutex_);
  database_ = std::move(primary);
  return absl::OkStatus();
}

absl::Status SetSession::IngestFolder(const std::filesystem::path& folder) {
  const absl::StatusOr<Contribution> contribution = Contribution::Load(folder);
  // Files are missing when they were ingested by a process that died before it could tidy up.
  if (absl::IsDataLoss(contribution.status()) || absl::IsNotFound(contribution.status())) {
    return RemoveContribution(folder);
  }
  if (!contribution.ok()) return contribution.status();
  // Others wrote it, perhaps over a network.
  const absl::Status verified = contribution->VerifyFiles();
  if (verified.ok()) return IngestContribution(*contribution);
  if (!absl::IsDataLoss(verified)) return verified;
  // Its unit is free again.
  AFTERIMAGE_RETURN_IF_ERROR(
      folder_.AppendIncident(absl::StrCat("refused ", folder.filename().string(), ": ", verified.message())));
  return RemoveContribution(folder);
}

absl::Status SetSession::IngestContribution(const Contribution& contribution) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<UnitMarker> marker, FindMarker(contribution.unit));
  if (marker.has_value() && contribution.repaired.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const bool repetition, IsRepetition(contribution));
    if (repetition) return RemoveContribution(contribution.folder);
  }
  AFTERIMAGE_RETURN_IF_ERROR(database()->Ingest(contribution.files));
  {
    std::lock_guard lock(mutex_);
    markers_.erase({contribution.unit.manifest, contribution.unit.shard, contribution.unit.seed_begin});
  }
  AFTERIMAGE_RETURN_IF_ERROR(damage_.Remove(contribution.repaired));
  return RemoveContribution(contribution.folder);
}

absl::StatusOr<bool> SetSession::IsRepetition(const Contribution& contribution) {
  uint64_t num_different = 0;
  bool all_held = true;
  AFTERIMAGE_RETURN_IF_ERROR(
      contribution.ForEachRecord([&](const RecordKey& key, ByteSpan bytes) -> absl::Status {
        AFTERIMAGE_ASSIGN_OR_RETURN(const HeldRecord held, Find(key));
        AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block, FeatureBlock::Parse(bytes));
        if (held.state != HeldRecord::State::kHeld) {
          all_held = false;
        } else if (held.digest != block.record_digest()) {
          ++num_different;
        }
        return absl::OkStatus();
      }));
  if (all_held && num_different > 0) {
    AFTERIMAGE_RETURN_IF_ERROR(folder_.AppendIncident(
        absl::StrCat("unit ", contribution.unit.ToString(), " was computed again by worker ",
                     contribution.worker, ": ", num_different, " records differ; the first ones are kept")));
  }
  return all_held;
}

absl::StatusOr<bool> SetSession::IsComplete(const UnitId& unit) {
  // In this order: what leaves incoming/ in between is in the database by then.
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto waiting, WaitingContributions(folder_.incoming(), unit.ToString()));
  if (!waiting.empty()) return true;
  AFTERIMAGE_RETURN_IF_ERROR(Poll());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<UnitMarker> marker, FindMarker(unit));
  return marker.has_value();
}

absl::Status SetSession::Deliver(const Contribution& contribution) {
  std::lock_guard role_lock(role_mutex_);
  if (!is_ingester()) return absl::OkStatus();
  std::error_code error;
  // The background thread may have been faster.
  if (!std::filesystem::exists(contribution.folder, error)) return absl::OkStatus();
  const absl::Status status = IngestContribution(contribution);
  if (!status.ok()) RemoveContribution(contribution.folder).IgnoreError();
  return status;
}

}  // namespace afterimage
