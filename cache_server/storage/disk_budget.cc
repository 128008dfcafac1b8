#include "cache_server/storage/disk_budget.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"

namespace afterimage {

void DiskBudget::Measure() {
  stored_bytes_ = quota_bytes_ == 0 ? 0 : folder_.MeasureBytes();
  // Where the file system does not tell, writing will.
  free_bytes_ = folder_.FreeBytes().value_or(std::numeric_limits<uint64_t>::max());
  measured_written_bytes_ = written_bytes_;
  measured_ = absl::Now();
}

void DiskBudget::SetQuota(uint64_t quota_bytes) {
  std::lock_guard lock(mutex_);
  quota_bytes_ = quota_bytes;
  measured_ = absl::InfinitePast();
}

absl::Status DiskBudget::Check(uint64_t bytes) const {
  const uint64_t wanted = taken_bytes_ + bytes;
  if (quota_bytes_ != 0 && stored_bytes_ + wanted > quota_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "quota of ", HumanBytes(quota_bytes_), " reached in ", folder_.root().string(), ": ",
        HumanBytes(stored_bytes_), " stored, ", HumanBytes(wanted),
        " being written; everything published is kept: raise the quota and run the same command again"));
  }
  // What was on the disk when its free space was asked for needs no more of it.
  const uint64_t unwritten = wanted - std::min(wanted, measured_written_bytes_);
  if (free_bytes_ < kReserveBytes || unwritten > free_bytes_ - kReserveBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "disk full: ", folder_.root().string(), " has ", HumanBytes(free_bytes_), " free, ",
        HumanBytes(unwritten),
        " are still to be written; everything published is kept: free space and run the same command again"));
  }
  return absl::OkStatus();
}

absl::Status DiskBudget::Take(uint64_t bytes) {
  constexpr absl::Duration kFresh = absl::Seconds(1);
  std::lock_guard lock(mutex_);
  const bool fresh = absl::Now() - measured_ < kFresh;
  if (!fresh) Measure();
  absl::Status status = Check(bytes);
  // Somebody may have freed space, or published, since the last look.
  if (!status.ok() && fresh) {
    Measure();
    status = Check(bytes);
  }
  if (status.ok()) taken_bytes_ += bytes;
  return status;
}

void DiskBudget::MarkWritten(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  written_bytes_ += bytes;
}

void DiskBudget::Return(uint64_t taken_bytes, uint64_t written_bytes) {
  std::lock_guard lock(mutex_);
  taken_bytes_ -= taken_bytes;
  written_bytes_ -= written_bytes;
  measured_ = absl::InfinitePast();
}

absl::Status DiskRoom::Take(uint64_t bytes) {
  AFTERIMAGE_RETURN_IF_ERROR(budget_->Take(bytes));
  bytes_ += bytes;
  return absl::OkStatus();
}

void DiskRoom::MarkWritten(uint64_t bytes) {
  budget_->MarkWritten(bytes);
  written_bytes_ += bytes;
}

}  // namespace afterimage
