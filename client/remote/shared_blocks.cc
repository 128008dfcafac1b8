#include "client/remote/shared_blocks.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage {

absl::StatusOr<std::shared_ptr<SharedBlocks>> SharedBlocks::Open(const SharedMemoryName& name) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<SharedMemoryView> memory, SharedMemoryView::Open(name));
  return std::shared_ptr<SharedBlocks>(new SharedBlocks(std::move(memory)));
}

absl::StatusOr<PinnedBytes> SharedBlocks::Pin(uint64_t offset, uint64_t bytes) {
  const uint64_t whole = memory_->bytes().size();
  if (offset < SharedMemory::kHeaderBytes || offset > whole || bytes > whole - offset) {
    return absl::InvalidArgumentError(
        absl::StrCat("a block of ", bytes, " bytes at ", offset, " of ", whole, " bytes of shared memory"));
  }
  const ByteSpan block = memory_->bytes().subspan(offset, bytes);
  const std::shared_ptr<const void> owner(
      block.data(), [blocks = shared_from_this(), offset](const void*) { blocks->Release(offset); });
  return PinnedBytes{block, owner};
}

std::vector<uint64_t> SharedBlocks::TakeReleased() {
  std::lock_guard lock(mutex_);
  return std::exchange(released_, {});
}

void SharedBlocks::Release(uint64_t offset) {
  std::lock_guard lock(mutex_);
  released_.push_back(offset);
}

}  // namespace afterimage
