#include "core/image/random_access_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage::image_internal {

RandomAccessFile::RandomAccessFile(std::string path, int fd, FileStamp stamp)
    : path_(std::move(path)), fd_(fd), stamp_(stamp) {}

RandomAccessFile::~RandomAccessFile() { close(fd_); }

absl::StatusOr<std::unique_ptr<RandomAccessFile>> RandomAccessFile::Open(const std::string& path) {
  int fd;
  do {
    fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  struct stat information;
  if (fstat(fd, &information) != 0) {
    const int error = errno;
    close(fd);
    return ErrnoStatus(error, "stat", path);
  }
  if (!S_ISREG(information.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  const FileStamp stamp{static_cast<uint64_t>(information.st_size),
                        int64_t{information.st_mtim.tv_sec} * 1000000000 + information.st_mtim.tv_nsec};
  return std::unique_ptr<RandomAccessFile>(new RandomAccessFile(path, fd, stamp));
}

absl::StatusOr<std::unique_ptr<RandomAccessFile>> RandomAccessFile::WriteTemporary(
    const std::string& path, const std::function<absl::StatusOr<std::string>()>& next) {
  std::error_code no_folder;
  const std::string folder = std::filesystem::temp_directory_path(no_folder).string();
  const std::string what = absl::StrCat("unpack ", path, " in (TMPDIR names another folder)");
  if (no_folder) return ErrnoStatus(no_folder.value(), what, folder);
  std::string name = folder + "/afterimage-XXXXXX";
  const int fd = mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, what, folder);
  unlink(name.c_str());
  // From here on the object closes it.
  auto file = std::unique_ptr<RandomAccessFile>(new RandomAccessFile(path, fd, {}));
  uint64_t size = 0;
  while (true) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string piece, next());
    if (piece.empty()) break;
    for (size_t done = 0; done < piece.size();) {
      const ssize_t put = write(fd, piece.data() + done, piece.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return ErrnoStatus(errno, what, folder);
      done += static_cast<size_t>(put);
    }
    size += piece.size();
  }
  file->stamp_.size_bytes = size;
  return file;
}

absl::StatusOr<std::string> RandomAccessFile::ReadAt(uint64_t offset, uint64_t length) const {
  // Looked at first, so that a damaged length is not allocated.
  if (offset > size_bytes() || length > size_bytes() - offset) {
    return absl::DataLossError(absl::StrCat(path_, " is cut short: ", length, " bytes at offset ", offset,
                                            " are needed, the file has ", size_bytes()));
  }
  std::string bytes(length, '\0');
  uint64_t done = 0;
  while (done < length) {
    const ssize_t got = pread(fd_, bytes.data() + done, length - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, "read", path_);
    if (got == 0) {
      return absl::DataLossError(
          absl::StrCat(path_, " was cut to ", offset + done, " bytes while it was read"));
    }
    done += static_cast<uint64_t>(got);
  }
  return bytes;
}

}  // namespace afterimage::image_internal
