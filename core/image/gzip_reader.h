// Reads a file from its beginning, unpacking it if it is gzip. Private to this room.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

struct gzFile_s;

namespace afterimage::image_internal {

// Not thread-safe.
class GzipReader {
 public:
  // NotFound and so on, with the path in the text. A file that is not gzip is read as it is.
  static absl::StatusOr<std::unique_ptr<GzipReader>> Open(const std::string& path);
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  // Exactly the next `length` bytes. Memory grows with what is there, not with what is asked for. DataLoss,
  // with path and offset, where the file ends before or gzip finds it damaged.
  absl::StatusOr<std::string> Read(uint64_t length);
  // True at the end of the content (and, for gzip, its checksum is right).
  absl::StatusOr<bool> AtEnd();

 private:
  GzipReader(std::string path, gzFile_s* file) : path_(std::move(path)), file_(file) {}
  // Up to `length` bytes, fewer only at the end.
  absl::StatusOr<std::string> ReadUpTo(uint64_t length);

  const std::string path_;
  gzFile_s* const file_;
  uint64_t offset_ = 0;  // in the unpacked content
};

}  // namespace afterimage::image_internal
