// Memory that one process writes and other processes of the same user read.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"

namespace afterimage {

// Where a reader finds it: a descriptor of a process, how much there is, and what stands at its beginning.
struct SharedMemoryName {
  static constexpr size_t kNonceBytes = 16;

  int64_t pid = 0;
  int32_t descriptor = -1;
  uint64_t bytes = 0;
  std::array<uint8_t, kNonceBytes> nonce = {};

  bool operator==(const SharedMemoryName&) const = default;
};

// The writer's side: a file without a name (memfd), mapped. Nothing of it is left when its processes are
// gone, however they end. Readers cannot write it; its size is sealed, so no reader of it gets a SIGBUS.
// Not thread-safe, but different parts may be written at once.
class SharedMemory {
 public:
  // The first bytes, which hold the nonce: not to be written.
  static constexpr uint64_t kHeaderBytes = 64;

  // `bytes`: with the header; is rounded up to whole pages. ResourceExhausted, Internal, …: as the system
  // says. Memory is only taken by Reserve.
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Create(uint64_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  const SharedMemoryName& name() const { return name_; }
  uint8_t* data() { return data_; }
  // Takes memory for the first `end` bytes, and keeps it. False: there is none; to write there all the same
  // would end the process.
  bool Reserve(uint64_t end);

 private:
  SharedMemory(int descriptor, uint64_t bytes);

  const int descriptor_;
  SharedMemoryName name_;
  uint8_t* data_ = nullptr;
  uint64_t reserved_bytes_ = 0;
};

// A reader's side. What it sees stays as long as it lives, also when the writer has gone. Immutable but for
// what the writer writes; thread-safe.
class SharedMemoryView {
 public:
  // NotFound, PermissionDenied: there is no such descriptor to be opened, as where the writer is another
  // user's or in another container. FailedPrecondition: it is something else than the name says, or another
  // user's.
  static absl::StatusOr<std::unique_ptr<SharedMemoryView>> Open(const SharedMemoryName& name);
  ~SharedMemoryView();
  SharedMemoryView(const SharedMemoryView&) = delete;
  SharedMemoryView& operator=(const SharedMemoryView&) = delete;

  ByteSpan bytes() const { return bytes_; }

 private:
  explicit SharedMemoryView(ByteSpan bytes) : bytes_(bytes) {}

  const ByteSpan bytes_;
};

}  // namespace afterimage
