#include "cache_server/storage/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "core/base/files.h"

namespace afterimage {
namespace {

int OpenLockFile(const std::filesystem::path& path) {
  int fd;
  do {
    fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

int Lock(int fd, int operation) {
  int result;
  do {
    result = flock(fd, operation);
  } while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileLock>> FileLock::Try(const std::filesystem::path& path) {
  const int fd = OpenLockFile(path);
  if (fd < 0) return ErrnoStatus(errno, "open lock", path);
  std::unique_ptr<FileLock> lock(new FileLock(fd));
  if (Lock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) return std::unique_ptr<FileLock>();
  return ErrnoStatus(errno, "lock", path);
}

absl::StatusOr<std::unique_ptr<FileLock>> FileLock::Wait(const std::filesystem::path& path) {
  const int fd = OpenLockFile(path);
  if (fd < 0) return ErrnoStatus(errno, "open lock", path);
  std::unique_ptr<FileLock> lock(new FileLock(fd));
  if (Lock(fd, LOCK_EX) != 0) return ErrnoStatus(errno, "lock", path);
  return lock;
}

FileLock::~FileLock() { close(fd_); }

}  // namespace afterimage
