// A file that is read at offsets. Private to this room.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace afterimage::image_internal {

// What tells whether a file is still the one that was looked at.
struct FileStamp {
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;

  bool operator==(const FileStamp&) const = default;
};

// Thread-safe: every read names its offset.
class RandomAccessFile {
 public:
  // NotFound, PermissionDenied, InvalidArgument for what is not a regular file; the path is in the text.
  static absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(const std::string& path);
  // A file in the folder for temporary ones ($TMPDIR, /tmp) that has no name and vanishes with this object,
  // holding the pieces that `next` gives until an empty one. `path` is what messages call it.
  // ResourceExhausted: no space there; the errors of `next`.
  static absl::StatusOr<std::unique_ptr<RandomAccessFile>> WriteTemporary(
      const std::string& path, const std::function<absl::StatusOr<std::string>()>& next);
  ~RandomAccessFile();
  RandomAccessFile(const RandomAccessFile&) = delete;
  RandomAccessFile& operator=(const RandomAccessFile&) = delete;

  const std::string& path() const { return path_; }
  const FileStamp& stamp() const { return stamp_; }
  uint64_t size_bytes() const { return stamp_.size_bytes; }

  // Exactly `length` bytes. DataLoss, with path and offset, where the file ends before.
  absl::StatusOr<std::string> ReadAt(uint64_t offset, uint64_t length) const;

 private:
  RandomAccessFile(std::string path, int fd, FileStamp stamp);

  const std::string path_;
  const int fd_;
  FileStamp stamp_;
};

}  // namespace afterimage::image_internal
