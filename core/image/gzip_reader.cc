#include "core/image/gzip_reader.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage::image_internal {
namespace {

constexpr uint64_t kPieceBytes = 1 << 20;
constexpr unsigned kBufferBytes = 1 << 17;

}  // namespace

absl::StatusOr<std::unique_ptr<GzipReader>> GzipReader::Open(const std::string& path) {
  errno = 0;
  gzFile file = gzopen(path.c_str(), "rbe");
  if (file == nullptr) return ErrnoStatus(errno != 0 ? errno : ENOMEM, "open", path);
  gzbuffer(file, kBufferBytes);
  return std::unique_ptr<GzipReader>(new GzipReader(path, file));
}

GzipReader::~GzipReader() { gzclose_r(file_); }

absl::StatusOr<std::string> GzipReader::ReadUpTo(uint64_t length) {
  std::string bytes;
  while (bytes.size() < length) {
    const uint64_t before = bytes.size();
    const uint64_t piece = std::min(kPieceBytes, length - before);
    bytes.resize(before + piece);
    const int got = gzread(file_, bytes.data() + before, static_cast<unsigned>(piece));
    bytes.resize(before + std::max(got, 0));
    if (got > 0) continue;  // an error behind these bytes is reported again by the next read
    int error = Z_OK;
    const char* reason = gzerror(file_, &error);
    if (error == Z_ERRNO) return ErrnoStatus(errno, "read", path_);
    if (got < 0 || (error != Z_OK && error != Z_STREAM_END)) {
      return absl::DataLossError(absl::StrCat(path_, " is cut short or damaged at offset ",
                                              offset_ + bytes.size(), " of its unpacked content: ", reason));
    }
    break;
  }
  offset_ += bytes.size();
  return bytes;
}

absl::StatusOr<std::string> GzipReader::Read(uint64_t length) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::string bytes, ReadUpTo(length));
  if (bytes.size() < length) {
    return absl::DataLossError(absl::StrCat(path_, " is cut short at offset ", offset_, ": ",
                                            length - bytes.size(), " more bytes are needed"));
  }
  return bytes;
}

absl::StatusOr<bool> GzipReader::AtEnd() {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string byte, ReadUpTo(1));
  return byte.empty();
}

}  // namespace afterimage::image_internal
