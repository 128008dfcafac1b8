// Blocks that a server on this machine has put into memory that it shares with its client.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/base/shared_memory.h"

namespace afterimage {

// The client's side of a stream's shared region. Thread-safe. Blocks may outlive the stream and the server.
class SharedBlocks : public std::enable_shared_from_this<SharedBlocks> {
 public:
  // Errors of SharedMemoryView::Open: then the server is left to send everything.
  static absl::StatusOr<std::shared_ptr<SharedBlocks>> Open(const SharedMemoryName& name);

  // The block there, which keeps its place until its last owner has gone. InvalidArgument: not inside.
  absl::StatusOr<PinnedBytes> Pin(uint64_t offset, uint64_t bytes);
  // Where the places begin whose blocks have gone since the last call.
  std::vector<uint64_t> TakeReleased();

 private:
  explicit SharedBlocks(std::unique_ptr<SharedMemoryView> memory) : memory_(std::move(memory)) {}
  void Release(uint64_t offset);

  const std::unique_ptr<SharedMemoryView> memory_;
  std::mutex mutex_;
  std::vector<uint64_t> released_;
};

}  // namespace afterimage
