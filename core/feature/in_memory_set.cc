#include "core/feature/in_memory_set.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

class InMemoryStore : public FeatureStore {
 public:
  explicit InMemoryStore(std::shared_ptr<InMemorySet> set) : set_(std::move(set)) {}

  const SetDescription& description() const override { return set_->description(); }
  const FeatureProfile* profile() const override { return set_->profile(); }
  absl::Status Read(std::span<const RecordKey> keys, const Selection& selection, const MaskChoice& mask,
                    const RecordSink& sink) override {
    return set_->Read(keys, selection, mask, sink);
  }
  absl::Status Refresh() override { return absl::OkStatus(); }

 private:
  const std::shared_ptr<InMemorySet> set_;
};

class InMemoryLedger : public UnitLedger {
 public:
  explicit InMemoryLedger(std::shared_ptr<InMemorySet> set) : set_(std::move(set)) {}

  absl::StatusOr<ClaimResult> Claim(const ClaimRequest& request) override { return set_->Claim(request); }
  absl::StatusOr<absl::Time> Renew(const UnitLease& lease, absl::Duration lease_duration) override {
    return set_->Renew(lease, lease_duration);
  }
  absl::Status Release(const UnitLease& lease) override { return set_->Release(lease); }
  absl::StatusOr<LedgerProgress> Progress(const Digest256& manifest, uint32_t num_view_seeds) override {
    return set_->Progress(manifest, num_view_seeds);
  }

 private:
  const std::shared_ptr<InMemorySet> set_;
};

class InMemoryWriter : public UnitWriter {
 public:
  InMemoryWriter(std::shared_ptr<InMemorySet> set, UnitId unit, std::shared_ptr<const Manifest> manifest)
      : set_(std::move(set)), unit_(std::move(unit)), manifest_(std::move(manifest)) {}

  absl::Status Add(const RecordKey& key, ByteSpan block) override {
    if (published_)
      return absl::FailedPreconditionError(absl::StrCat("unit ", unit_.ToString(), " is published already"));
    AFTERIMAGE_RETURN_IF_ERROR(CheckBlockForUnit(set_->description(), unit_, key, block));
    if (!std::binary_search(manifest_->keys().begin(), manifest_->keys().end(), key.image)) {
      return absl::InvalidArgumentError(absl::StrCat("record ", key.ToString(), " for unit ",
                                                     unit_.ToString(), ": the image is not in the manifest"));
    }
    AFTERIMAGE_RETURN_IF_ERROR(set_->CheckSpace(added_bytes_ + block.size()));
    added_bytes_ += block.size();
    blocks_[key] = PinnedBytes::FromString(std::string(block.begin(), block.end()));
    return absl::OkStatus();
  }

  absl::StatusOr<PublishReport> Publish(const UnitMetadata& metadata) override {
    if (published_)
      return absl::FailedPreconditionError(absl::StrCat("unit ", unit_.ToString(), " is published already"));
    AFTERIMAGE_ASSIGN_OR_RETURN(const PublishReport report,
                                set_->Publish(unit_, *manifest_, blocks_, metadata));
    published_ = true;
    return report;
  }

 private:
  const std::shared_ptr<InMemorySet> set_;
  const UnitId unit_;
  const std::shared_ptr<const Manifest> manifest_;
  InMemorySet::Blocks blocks_;
  uint64_t added_bytes_ = 0;
  bool published_ = false;
};

class InMemoryPublisher : public UnitPublisher {
 public:
  explicit InMemoryPublisher(std::shared_ptr<InMemorySet> set) : set_(std::move(set)) {}

  absl::StatusOr<std::unique_ptr<UnitWriter>> Open(const UnitLease& lease) override {
    return set_->OpenWriter(lease);
  }

 private:
  const std::shared_ptr<InMemorySet> set_;
};

}  // namespace

InMemorySet::InMemorySet(SetDescription description, std::shared_ptr<const FeatureProfile> profile,
                         std::function<absl::Time()> clock, std::function<uint64_t()> max_bytes,
                         FindManifest find_manifest)
    : id_(description.set.Id()),
      description_(std::move(description)),
      profile_(std::move(profile)),
      clock_(std::move(clock)),
      max_bytes_(std::move(max_bytes)),
      find_manifest_(std::move(find_manifest)) {}

OpenedSet InMemorySet::Open(OpenMode mode) {
  OpenedSet opened;
  opened.id = id_;
  opened.store = std::make_shared<InMemoryStore>(shared_from_this());
  if (mode == OpenMode::kContribute) {
    opened.ledger = std::make_shared<InMemoryLedger>(shared_from_this());
    opened.publisher = std::make_shared<InMemoryPublisher>(shared_from_this());
  }
  return opened;
}

SetSummary InMemorySet::Summary() {
  std::lock_guard lock(mutex_);
  SetSummary summary;
  summary.id = id_;
  summary.description = description_;
  summary.stored_bytes = stored_bytes_;
  for (const auto& [key, held] : records_) ++(held.failed ? summary.num_failed : summary.num_records);
  std::set<Digest256> manifests;
  std::map<std::tuple<std::string, std::string, uint32_t, uint32_t>, UnitMetadata> workers;
  for (const auto& [unit, metadata] : complete_) {
    manifests.insert(unit.manifest);
    summary.num_view_seeds = std::max(summary.num_view_seeds, unit.seed_end);
    const auto [entry, is_new] = workers.try_emplace(
        {metadata.device, metadata.library_versions, metadata.num_threads, metadata.micro_batch}, metadata);
    if (!is_new) entry->second.AddCounts(metadata);
  }
  summary.manifests.assign(manifests.begin(), manifests.end());
  for (auto& [key, metadata] : workers) summary.workers.push_back(std::move(metadata));
  return summary;
}

std::vector<FailureEntry> InMemorySet::Failures(size_t limit) {
  std::lock_guard lock(mutex_);
  std::vector<FailureEntry> failures;
  for (const auto& [key, held] : records_) {
    if (failures.size() == limit) break;
    if (!held.failed) continue;
    const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(held.block.bytes);
    if (block.ok()) failures.push_back({key, block->failure_reason().value_or("the reason is damaged")});
  }
  return failures;
}

absl::Status InMemorySet::Damage(const RecordKey& key) {
  std::lock_guard lock(mutex_);
  const auto found = records_.find(key);
  if (found == records_.end())
    return absl::NotFoundError(absl::StrCat("record ", key.ToString(), " is not in the set"));
  std::string bytes(found->second.block.bytes.begin(), found->second.block.bytes.end());
  bytes.back() ^= 1;
  found->second.block = PinnedBytes::FromString(std::move(bytes));
  return absl::OkStatus();
}

absl::Status InMemorySet::Read(std::span<const RecordKey> keys, const Selection& selection,
                               const MaskChoice& mask, const RecordSink& sink) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateSelection(description_, selection));
  AFTERIMAGE_RETURN_IF_ERROR(ValidateMaskChoice(description_, selection, mask));
  for (size_t i = 0; i < keys.size(); ++i) {
    PinnedBytes block;
    bool found = false;
    {
      std::lock_guard lock(mutex_);
      const auto held = records_.find(keys[i]);
      found = held != records_.end();
      if (found) block = held->second.block;
    }
    RecordResult result = ResultFromStored(description_, keys[i], block, found, selection, mask, profile());
    if (result.state == RecordState::kDamaged) {
      std::lock_guard lock(mutex_);
      const auto held = records_.find(keys[i]);
      // Not if it has been repaired meanwhile.
      if (held != records_.end() && held->second.block.owner == block.owner) held->second.damaged = true;
    }
    if (!sink(i, std::move(result))) return absl::CancelledError("the reader has stopped");
  }
  return absl::OkStatus();
}

// Units of one shard begin at aligned seeds, so that a unit is covered by one with the same begin and at
// least its end.
bool InMemorySet::IsComplete(const UnitId& unit) const {
  const auto marker = complete_.lower_bound(unit);
  if (marker == complete_.end() || marker->first.manifest != unit.manifest ||
      marker->first.shard != unit.shard || marker->first.seed_begin != unit.seed_begin) {
    return false;
  }
  return true;
}

bool InMemorySet::HoldsLease(const UnitLease& lease) const {
  const auto held = leases_.find(lease.unit);
  return held != leases_.end() && held->second.token == lease.token;
}

std::vector<RecordKey> InMemorySet::Wanted(const UnitId& unit, const Manifest& manifest) const {
  std::vector<RecordKey> wanted;
  const KeyIndexRange range = ShardKeys(manifest, unit.shard, description_.layout.num_shards);
  for (size_t i = range.begin; i < range.end; ++i) {
    for (uint32_t seed = unit.seed_begin; seed < unit.seed_end; ++seed) {
      const auto held = records_.find({manifest.keys()[i], seed});
      if (held == records_.end() || held->second.damaged) wanted.push_back({manifest.keys()[i], seed});
    }
  }
  return wanted;
}

absl::StatusOr<ClaimResult> InMemorySet::Claim(const ClaimRequest& request) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateClaim(request));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> manifest,
                              find_manifest_(request.manifest));
  std::lock_guard lock(mutex_);
  const absl::Time now = clock_();
  ClaimResult result;
  result.all_complete = true;
  for (const UnitId& unit :
       UnitsOf(description_.layout, request.manifest, request.num_view_seeds, request.seed_major)) {
    std::vector<RecordKey> wanted = Wanted(unit, *manifest);
    if (wanted.empty() && IsComplete(unit)) continue;
    result.all_complete = false;
    const auto lease = leases_.find(unit);
    if (lease != leases_.end() && lease->second.expires > now) {
      if (lease->second.worker != request.worker) ++result.leased_by_others;
      continue;
    }
    if (result.units.size() == request.max_units) continue;
    UnitLease given{unit, request.worker, absl::StrCat(request.worker, "#", ++num_leases_),
                    now + request.lease_duration};
    leases_[unit] = given;
    result.units.push_back({std::move(given), std::move(wanted)});
  }
  return result;
}

absl::StatusOr<absl::Time> InMemorySet::Renew(const UnitLease& lease, absl::Duration lease_duration) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateLeaseDuration(lease_duration));
  std::lock_guard lock(mutex_);
  if (!HoldsLease(lease)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the lease of ", lease.worker, " on unit ", lease.unit.ToString(),
                     " is lost: it is finished, or another worker holds it"));
  }
  return leases_[lease.unit].expires = clock_() + lease_duration;
}

absl::Status InMemorySet::Release(const UnitLease& lease) {
  std::lock_guard lock(mutex_);
  if (HoldsLease(lease)) leases_.erase(lease.unit);
  return absl::OkStatus();
}

absl::StatusOr<LedgerProgress> InMemorySet::Progress(const Digest256& manifest_digest,
                                                     uint32_t num_view_seeds) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> manifest,
                              find_manifest_(manifest_digest));
  std::lock_guard lock(mutex_);
  const absl::Time now = clock_();
  LedgerProgress progress;
  progress.records_total = manifest->num_keys() * num_view_seeds;
  progress.seed_complete.assign(num_view_seeds, true);
  for (const UnitId& unit :
       UnitsOf(description_.layout, manifest_digest, num_view_seeds, /*seed_major=*/false)) {
    ++progress.units_total;
    if (IsComplete(unit) && Wanted(unit, *manifest).empty()) {
      ++progress.units_complete;
    } else if (const auto lease = leases_.find(unit); lease != leases_.end() && lease->second.expires > now) {
      ++progress.units_leased;
    }
    const KeyIndexRange range = ShardKeys(*manifest, unit.shard, description_.layout.num_shards);
    for (uint32_t seed = unit.seed_begin; seed < unit.seed_end; ++seed) {
      UnitId up_to_seed = unit;
      up_to_seed.seed_end = seed + 1;
      const bool complete = IsComplete(up_to_seed);
      for (size_t i = range.begin; complete && i < range.end; ++i) {
        const auto held = records_.find({manifest->keys()[i], seed});
        if (held == records_.end() || held->second.damaged) {
          progress.seed_complete[seed] = false;
        } else {
          ++progress.records_present;
          if (held->second.failed) ++progress.records_failed;
        }
      }
      if (!complete) progress.seed_complete[seed] = false;
    }
  }
  return progress;
}

absl::StatusOr<std::unique_ptr<UnitWriter>> InMemorySet::OpenWriter(const UnitLease& lease) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<const Manifest> manifest, find_manifest_(lease.unit.manifest));
  std::lock_guard lock(mutex_);
  if (!HoldsLease(lease)) {
    return absl::FailedPreconditionError(
        absl::StrCat(lease.worker, " does not hold unit ", lease.unit.ToString(), " any more"));
  }
  return std::make_unique<InMemoryWriter>(shared_from_this(), lease.unit, std::move(manifest));
}

absl::Status InMemorySet::CheckSpace(uint64_t more) {
  std::lock_guard lock(mutex_);
  const uint64_t limit = max_bytes_ ? max_bytes_() : 0;
  if (limit == 0 || stored_bytes_ + more <= limit) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the set may hold ", limit, " bytes, ", stored_bytes_,
                                                   " are used and ", more, " more are wanted"));
}

absl::StatusOr<PublishReport> InMemorySet::Publish(const UnitId& unit, const Manifest& manifest,
                                                   const Blocks& blocks, const UnitMetadata& metadata) {
  std::lock_guard lock(mutex_);
  for (const RecordKey& key : Wanted(unit, manifest)) {
    if (!blocks.contains(key)) {
      return absl::FailedPreconditionError(absl::StrCat("unit ", unit.ToString(), " is not whole: record ",
                                                        key.ToString(), " was neither added nor is held"));
    }
  }
  PublishReport report;
  for (const auto& [key, block] : blocks) {
    const auto held = records_.find(key);
    if (held == records_.end() || held->second.damaged) {
      Write(key, block);
      ++report.records_written;
      report.bytes_written += block.bytes.size();
    } else if (held->second.digest == FeatureBlock::Parse(block.bytes)->record_digest()) {
      ++report.duplicates_equal;
    } else {
      ++report.duplicates_different;
    }
  }
  complete_.try_emplace(unit, metadata);
  leases_.erase(unit);
  return report;
}

void InMemorySet::Write(const RecordKey& key, const PinnedBytes& block) {
  const FeatureBlock parsed = FeatureBlock::Parse(block.bytes).value();  // Add has checked it
  Held& held = records_[key];
  stored_bytes_ += block.bytes.size() - held.block.bytes.size();
  held = {block, parsed.record_digest(), parsed.is_failure(), /*damaged=*/false};
}

}  // namespace afterimage
