#include "cache_server/precompute/unit_in_progress.h"

#include <utility>

#include "core/base/status_macros.h"

namespace afterimage {

UnitInProgress::UnitInProgress(ClaimedUnit claimed, std::unique_ptr<UnitWriter> writer)
    : claimed_(std::move(claimed)), expires_(claimed_.lease.expires), writer_(std::move(writer)) {}

UnitLease UnitInProgress::lease() const {
  std::lock_guard lock(mutex_);
  UnitLease lease = claimed_.lease;
  lease.expires = expires_;
  return lease;
}

void UnitInProgress::SetExpiry(absl::Time expires) {
  std::lock_guard lock(mutex_);
  expires_ = expires;
}

absl::StatusOr<bool> UnitInProgress::Complete(size_t index, std::string block, bool failed) {
  std::lock_guard lock(mutex_);
  if (abandoned_) return false;
  if (failed) ++num_failed_;
  early_.emplace(index, std::move(block));
  for (auto next = early_.begin(); next != early_.end() && next->first == next_index_; next = early_.begin()) {
    AFTERIMAGE_RETURN_IF_ERROR(writer_->Add(claimed_.wanted[next_index_], AsBytes(next->second)));
    early_.erase(next);
    ++next_index_;
  }
  return next_index_ == claimed_.wanted.size();
}

void UnitInProgress::AddErrors(const std::vector<SampledError>& errors) {
  std::lock_guard lock(mutex_);
  afterimage::AddErrors(errors, errors_);
}

absl::StatusOr<PublishReport> UnitInProgress::Publish(UnitMetadata metadata) {
  std::lock_guard lock(mutex_);
  metadata.num_records = claimed_.wanted.size() - num_failed_;
  metadata.num_failed = num_failed_;
  metadata.errors = errors_;
  absl::StatusOr<PublishReport> report = writer_->Publish(metadata);
  writer_.reset();
  return report;
}

}  // namespace afterimage
