#include "cache_server/service/shared_region.h"

#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

// Places begin at cache lines, so that reader and writer of neighbours do not meet in one.
constexpr uint64_t kAlignment = 64;
static_assert(SharedMemory::kHeaderBytes % kAlignment == 0);

}  // namespace

absl::StatusOr<std::unique_ptr<SharedRegion>> SharedRegion::Create(uint64_t bytes, uint64_t min_block_bytes) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<SharedMemory> memory,
                              SharedMemory::Create(SharedMemory::kHeaderBytes + bytes));
  return std::unique_ptr<SharedRegion>(new SharedRegion(std::move(memory), min_block_bytes));
}

SharedRegion::SharedRegion(std::unique_ptr<SharedMemory> memory, uint64_t min_block_bytes)
    : memory_(std::move(memory)), min_block_bytes_(min_block_bytes) {
  free_[SharedMemory::kHeaderBytes] = name().bytes - SharedMemory::kHeaderBytes;
}

std::optional<uint64_t> SharedRegion::Put(ByteSpan block) {
  if (block.size() < min_block_bytes_ || block.size() > name().bytes) return std::nullopt;
  const std::optional<uint64_t> offset = Take((block.size() + kAlignment - 1) / kAlignment * kAlignment);
  if (offset.has_value()) std::memcpy(memory_->data() + *offset, block.data(), block.size());
  return offset;
}

std::optional<uint64_t> SharedRegion::Take(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  auto range = free_.begin();
  while (range != free_.end() && range->second < bytes) ++range;
  if (range == free_.end() || !memory_->Reserve(range->first + bytes)) return std::nullopt;
  const auto [offset, length] = *range;
  free_.erase(range);
  if (length > bytes) free_[offset + bytes] = length - bytes;
  taken_[offset] = bytes;
  return offset;
}

absl::Status SharedRegion::Release(uint64_t offset) {
  std::lock_guard lock(mutex_);
  const auto place = taken_.find(offset);
  if (place == taken_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("ReadEpoch: the place at ", offset,
                                                   " was given back, and no block of the client's is there"));
  }
  uint64_t length = place->second;
  taken_.erase(place);
  auto next = free_.upper_bound(offset);
  if (next != free_.end() && next->first == offset + length) {
    length += next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += length;
      return absl::OkStatus();
    }
  }
  free_[offset] = length;
  return absl::OkStatus();
}

}  // namespace afterimage
