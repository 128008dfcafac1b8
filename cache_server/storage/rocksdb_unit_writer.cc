#include "cache_server/storage/rocksdb_unit_writer.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/contribution.h"
#include "cache_server/storage/unit_submission.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"

namespace afterimage {

RocksDbUnitWriter::RocksDbUnitWriter(std::shared_ptr<SetSession> session,
                                     std::shared_ptr<const Manifest> manifest, UnitLease lease)
    : session_(std::move(session)),
      manifest_(std::move(manifest)),
      lease_(std::move(lease)),
      spool_(session_->folder().incoming(), session_->options().unit_memory_bytes),
      room_(&session_->budget()) {}

absl::Status RocksDbUnitWriter::Add(const RecordKey& key, ByteSpan block) {
  const std::string unit = lease_.unit.ToString();
  if (published_) return absl::FailedPreconditionError(absl::StrCat("unit ", unit, " is published already"));
  AFTERIMAGE_RETURN_IF_ERROR(CheckBlockForUnit(session_->description(), lease_.unit, key, block));
  if (!std::binary_search(manifest_->keys().begin(), manifest_->keys().end(), key.image)) {
    return absl::InvalidArgumentError(
        absl::StrCat("record ", key.ToString(), " for unit ", unit, ": the image is not in the manifest"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock parsed, FeatureBlock::Parse(block));
  Entry entry{.length = block.size(), .digest = parsed.record_digest(), .is_failure = parsed.is_failure()};
  if (entry.is_failure) {
    AFTERIMAGE_ASSIGN_OR_RETURN(entry.reason, parsed.failure_reason());
  }
  AFTERIMAGE_RETURN_IF_ERROR(room_.Take(block.size()));
  const auto last = last_written_.find(key.view_seed);
  if (last != last_written_.end() && !(last->second < key.image)) {
    AFTERIMAGE_ASSIGN_OR_RETURN(entry.late, spool_.Append(block));
  } else {
    AFTERIMAGE_RETURN_IF_ERROR(OpenFiles());
    AFTERIMAGE_RETURN_IF_ERROR(files_->Add(key, block));
    last_written_[key.view_seed] = key.image;
    room_.MarkWritten(block.size());
  }
  entries_[key] = std::move(entry);
  return absl::OkStatus();
}

absl::Status RocksDbUnitWriter::OpenFiles() {
  if (files_ != nullptr) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(files_, ContributionWriter::Open(session_->folder(), lease_,
                                                               session_->description().layout.num_shards));
  return absl::OkStatus();
}

absl::Status RocksDbUnitWriter::RewriteFiles() {
  AFTERIMAGE_RETURN_IF_ERROR(OpenFiles());
  AFTERIMAGE_ASSIGN_OR_RETURN(
      std::unique_ptr<ContributionWriter> again,
      ContributionWriter::Open(session_->folder(), lease_, session_->description().layout.num_shards,
                               /*attempt=*/2));
  // Both run in the order of the store; every key of the files has an entry.
  auto next = entries_.begin();
  std::string buffer;
  const auto add_late = [&]() -> absl::Status {
    const auto& [key, entry] = *next;
    if (!entry.late.has_value() || entry.is_held) return absl::OkStatus();
    AFTERIMAGE_ASSIGN_OR_RETURN(const ByteSpan block, spool_.Read(*entry.late, buffer));
    return again->Add(key, block);
  };
  AFTERIMAGE_RETURN_IF_ERROR(files_->ForEachRecord([&](const RecordKey& key, ByteSpan block) -> absl::Status {
    for (; StoreOrder()(next->first, key); ++next) AFTERIMAGE_RETURN_IF_ERROR(add_late());
    const Entry& entry = next->second;
    AFTERIMAGE_RETURN_IF_ERROR(add_late());
    ++next;
    return entry.late.has_value() || entry.is_held ? absl::OkStatus() : again->Add(key, block);
  }));
  for (; next != entries_.end(); ++next) AFTERIMAGE_RETURN_IF_ERROR(add_late());
  files_ = std::move(again);
  return absl::OkStatus();
}

absl::StatusOr<RocksDbUnitWriter::Digests> RocksDbUnitWriter::WaitingDigests() const {
  Digests digests;
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto folders,
                              WaitingContributions(session_->folder().incoming(), lease_.unit.ToString()));
  for (const std::filesystem::path& folder : folders) {
    absl::StatusOr<Contribution> contribution = Contribution::Load(folder);
    // Ingested, and gone, since the list was made; or damaged, and then the ingester's to refuse.
    if (!contribution.ok()) continue;
    Digests found;
    const absl::Status read =
        contribution->ForEachRecord([&](const RecordKey& key, ByteSpan bytes) -> absl::Status {
          AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block, FeatureBlock::Parse(bytes));
          found[key] = block.record_digest();
          return absl::OkStatus();
        });
    if (read.ok()) digests.merge(found);
  }
  return digests;
}

absl::Status RocksDbUnitWriter::CheckWhole(const Digests& waiting, const std::set<RecordKey>& damaged) const {
  const UnitId& unit = lease_.unit;
  const KeyIndexRange range = ShardKeys(*manifest_, unit.shard, session_->description().layout.num_shards);
  for (size_t i = range.begin; i < range.end; ++i) {
    for (uint32_t seed = unit.seed_begin; seed < unit.seed_end; ++seed) {
      const RecordKey key{manifest_->keys()[i], seed};
      if (entries_.contains(key) || waiting.contains(key)) continue;
      AFTERIMAGE_ASSIGN_OR_RETURN(const HeldRecord held, session_->Find(key));
      if (held.state == HeldRecord::State::kHeld && !damaged.contains(key)) continue;
      return absl::FailedPreconditionError(absl::StrCat("unit ", unit.ToString(), " is not whole: record ",
                                                        key.ToString(), " was neither added nor is held"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<PublishReport> RocksDbUnitWriter::Publish(const UnitMetadata& metadata) {
  const UnitId& unit = lease_.unit;
  if (published_) {
    return absl::FailedPreconditionError(absl::StrCat("unit ", unit.ToString(), " is published already"));
  }
  // Contributions first, then the database: what moves on in between is in the database by then.
  AFTERIMAGE_ASSIGN_OR_RETURN(const Digests waiting, WaitingDigests());
  AFTERIMAGE_RETURN_IF_ERROR(session_->Poll());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::set<RecordKey> damaged, session_->damage().Read());
  AFTERIMAGE_ASSIGN_OR_RETURN(const bool complete, session_->IsComplete(unit));
  if (!complete) AFTERIMAGE_RETURN_IF_ERROR(CheckWhole(waiting, damaged));

  PublishReport report;
  UnitSubmission submission{.lease = lease_, .marker = {.unit = unit}};
  bool files_are_right = true;
  UnitMetadata worker = metadata;
  worker.num_records = worker.num_failed = 0;
  for (auto& [key, entry] : entries_) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const HeldRecord held, session_->Find(key));
    const bool was_damaged = held.state == HeldRecord::State::kDamaged || damaged.contains(key);
    const auto in_waiting = waiting.find(key);
    if (!was_damaged && (held.state == HeldRecord::State::kHeld || in_waiting != waiting.end())) {
      const Digest128& theirs = held.state == HeldRecord::State::kHeld ? held.digest : in_waiting->second;
      ++(theirs == entry.digest ? report.duplicates_equal : report.duplicates_different);
      entry.is_held = true;
      files_are_right = false;
      continue;
    }
    if (entry.late.has_value()) files_are_right = false;
    ++report.records_written;
    report.bytes_written += entry.length;
    ++(entry.is_failure ? worker.num_failed : worker.num_records);
    if (was_damaged) {
      submission.repaired.push_back(key);  // counted when it was first written
    } else {
      ++(entry.is_failure ? submission.marker.num_failed : submission.marker.num_records);
    }
    if (entry.is_failure) submission.marker.failures.push_back({key, entry.reason});
  }
  if (report.duplicates_different > 0) {
    AFTERIMAGE_RETURN_IF_ERROR(session_->folder().AppendIncident(
        absl::StrCat("unit ", unit.ToString(), ": ", report.duplicates_different, " records of worker ",
                     lease_.worker, " differ from those held; those held are kept")));
  }
  if (report.records_written == 0 && complete) {
    AFTERIMAGE_RETURN_IF_ERROR(session_->leases().Release(lease_));
  } else {
    if (report.records_written > 0) submission.marker.workers.push_back(worker);
    AFTERIMAGE_RETURN_IF_ERROR(files_are_right ? OpenFiles() : RewriteFiles());
    AFTERIMAGE_RETURN_IF_ERROR(Submit(*session_, submission, *files_));
  }
  files_.reset();
  published_ = true;
  return report;
}

}  // namespace afterimage
