// How many bytes a set may still grow by.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache_server/storage/set_folder.h"

namespace afterimage {

// The quota and the free space of one set's folder, shared by all writers of a process. Thread-safe.
class DiskBudget {
 public:
  // `quota_bytes` of 0: no quota.
  DiskBudget(const SetFolder& folder, uint64_t quota_bytes) : folder_(folder), quota_bytes_(quota_bytes) {}

  void SetQuota(uint64_t quota_bytes);

  // Claims room for bytes that are about to be written; Return gives it back once they are published, or
  // dropped. ResourceExhausted: they would go over the quota or fill the disk; the text has the figures and
  // the remedy.
  absl::Status Take(uint64_t bytes);
  // So many of the taken bytes lie in unpublished files now: no longer free, not yet stored.
  void MarkWritten(uint64_t bytes);
  void Return(uint64_t taken_bytes, uint64_t written_bytes);

  // Kept free for what RocksDB writes about its files, so that a full disk never meets it half way.
  static constexpr uint64_t kReserveBytes = uint64_t{2} << 20;

 private:
  absl::Status Check(uint64_t bytes) const;
  void Measure();

  const SetFolder folder_;
  std::mutex mutex_;
  uint64_t quota_bytes_;
  uint64_t taken_bytes_ = 0;
  uint64_t written_bytes_ = 0;  // of the taken ones
  uint64_t stored_bytes_ = 0;   // as measured, as the next two
  uint64_t free_bytes_ = 0;
  uint64_t measured_written_bytes_ = 0;
  absl::Time measured_ = absl::InfinitePast();
};

// Room that goes back when this does.
class DiskRoom {
 public:
  explicit DiskRoom(DiskBudget* budget) : budget_(budget) {}
  ~DiskRoom() { budget_->Return(bytes_, written_bytes_); }
  DiskRoom(const DiskRoom&) = delete;
  DiskRoom& operator=(const DiskRoom&) = delete;

  absl::Status Take(uint64_t bytes);
  void MarkWritten(uint64_t bytes);

 private:
  DiskBudget* const budget_;
  uint64_t bytes_ = 0;
  uint64_t written_bytes_ = 0;
};

}  // namespace afterimage
