// The memory that an epoch stream's client on this machine reads its blocks from.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/base/shared_memory.h"

namespace afterimage {

// Blocks get the lowest place that is free, so that a reader who keeps up has them from the processor's
// cache, and one who does not makes it as large as it must be. Places come back in any order. Thread-safe.
class SharedRegion {
 public:
  // Room for `bytes` of blocks that are not smaller than `min_block_bytes`. Errors of SharedMemory::Create.
  static absl::StatusOr<std::unique_ptr<SharedRegion>> Create(uint64_t bytes, uint64_t min_block_bytes);

  // For the client.
  const SharedMemoryName& name() const { return memory_->name(); }
  // Copies a block to where its place begins; nothing where it is too small, or there is no room.
  std::optional<uint64_t> Put(ByteSpan block);
  // The client is done with the place that begins there. InvalidArgument: there is none.
  absl::Status Release(uint64_t offset);

 private:
  SharedRegion(std::unique_ptr<SharedMemory> memory, uint64_t min_block_bytes);
  std::optional<uint64_t> Take(uint64_t bytes);

  const std::unique_ptr<SharedMemory> memory_;
  const uint64_t min_block_bytes_;
  std::mutex mutex_;
  // Length by beginning. Neighbours that are free are one.
  std::map<uint64_t, uint64_t> free_;
  std::map<uint64_t, uint64_t> taken_;
};

}  // namespace afterimage
