// Holds the blocks of a unit until it is published.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"

namespace afterimage {

// SST files want their keys in order, workers finish in any. Blocks are kept in memory up to a bound, and in
// a nameless file of the given folder beyond; the file goes when the spool or its process does. Not
// thread-safe.
class RecordSpool {
 public:
  struct Place {
    bool in_file = false;
    uint64_t offset = 0;
    uint64_t length = 0;
  };

  RecordSpool(std::filesystem::path folder, uint64_t memory_bytes)
      : folder_(std::move(folder)), memory_bytes_(memory_bytes) {}
  ~RecordSpool();
  RecordSpool(const RecordSpool&) = delete;
  RecordSpool& operator=(const RecordSpool&) = delete;

  // ResourceExhausted: the disk is full.
  absl::StatusOr<Place> Append(ByteSpan block);
  // Valid until the next call; `buffer` holds what lay in the file.
  absl::StatusOr<ByteSpan> Read(const Place& place, std::string& buffer) const;

  uint64_t size_bytes() const { return memory_.size() + file_bytes_; }

 private:
  absl::Status OpenFile();

  const std::filesystem::path folder_;
  const uint64_t memory_bytes_;
  std::string memory_;
  int fd_ = -1;
  uint64_t file_bytes_ = 0;
};

}  // namespace afterimage
