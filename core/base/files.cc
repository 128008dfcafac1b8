#include "core/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  // close(2) reports what a network file system could not write.
  int Close() { return close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

int OpenRetrying(const fs::path& path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

absl::Status WriteAll(int fd, absl::string_view content, const fs::path& path) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write", path);
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status WriteAndSync(const fs::path& path, absl::string_view content) {
  Descriptor file(OpenRetrying(path, O_WRONLY | O_CREAT | O_EXCL, 0666));
  if (file.get() < 0) return ErrnoStatus(errno, "create", path);
  AFTERIMAGE_RETURN_IF_ERROR(WriteAll(file.get(), content, path));
  if (fsync(file.get()) != 0) return ErrnoStatus(errno, "sync", path);
  if (file.Close() != 0) return ErrnoStatus(errno, "close", path);
  return absl::OkStatus();
}

fs::path FolderOf(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// A name beside `path` that no other thread, process or machine (on a shared file system) uses.
fs::path NameBeside(const fs::path& path) {
  static std::atomic<uint64_t> counter{0};
  char host[256] = {};
  if (gethostname(host, sizeof(host) - 1) != 0) host[0] = '\0';
  fs::path beside = path;
  beside += absl::StrCat(".", host, ".", getpid(), ".", counter.fetch_add(1), ".tmp");
  return beside;
}

// Writes a synced file beside `path`; the caller renames, links or removes it. Nothing stays after an error.
absl::StatusOr<fs::path> WriteBeside(const fs::path& path, absl::string_view content) {
  fs::path beside = NameBeside(path);
  absl::Status written = WriteAndSync(beside, content);
  if (absl::IsAlreadyExists(written)) {
    // Left by a process of the same host and pid that crashed.
    unlink(beside.c_str());
    written = WriteAndSync(beside, content);
  }
  if (!written.ok()) {
    unlink(beside.c_str());
    return written;
  }
  return beside;
}

absl::Status SyncPath(const fs::path& path, int flags) {
  Descriptor file(OpenRetrying(path, O_RDONLY | flags));
  if (file.get() < 0) return ErrnoStatus(errno, "open", path);
  // EINVAL: a file system that cannot sync such a thing (folders on some network mounts) has nothing to lose.
  if (fsync(file.get()) != 0 && errno != EINVAL) return ErrnoStatus(errno, "sync", path);
  return absl::OkStatus();
}

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view operation, const fs::path& path) {
  const std::string text =
      absl::StrCat(operation, " ", path.string(), ": ", std::generic_category().message(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(text);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(text);
    case EEXIST:
      return absl::AlreadyExistsError(text);
    case EINTR:
    case EAGAIN:
      return absl::UnavailableError(text);
    default:
      return absl::InternalError(text);
  }
}

absl::StatusOr<std::string> ReadFile(const fs::path& path) {
  Descriptor file(OpenRetrying(path, O_RDONLY));
  if (file.get() < 0) return ErrnoStatus(errno, "open", path);
  struct stat information;
  if (fstat(file.get(), &information) != 0) return ErrnoStatus(errno, "stat", path);
  if (S_ISDIR(information.st_mode)) return ErrnoStatus(EISDIR, "read", path);

  // One byte more than the size, so that the end is seen without a second allocation; files whose size is not
  // known (/proc, pipes) grow as they are read.
  constexpr size_t kLeastBuffer = 4096;
  std::string content(std::max<size_t>(static_cast<size_t>(information.st_size) + 1, kLeastBuffer), '\0');
  size_t size = 0;
  while (true) {
    if (size == content.size()) content.resize(content.size() * 2);
    const ssize_t num_read = read(file.get(), content.data() + size, content.size() - size);
    if (num_read < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "read", path);
    }
    if (num_read == 0) break;
    size += static_cast<size_t>(num_read);
  }
  content.resize(size);
  return content;
}

absl::Status WriteFileAtomically(const fs::path& path, absl::string_view content) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const fs::path beside, WriteBeside(path, content));
  if (rename(beside.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(beside.c_str());
    return ErrnoStatus(error, "rename to", path);
  }
  return SyncDirectory(FolderOf(path));
}

absl::StatusOr<bool> CreateFileExclusively(const fs::path& path, absl::string_view content) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const fs::path beside, WriteBeside(path, content));
  // link(2), unlike rename(2), fails where the name is taken, and unlike O_EXCL shows the content whole.
  int error = link(beside.c_str(), path.c_str()) == 0 ? 0 : errno;
  if (error != 0) {
    // NFS may lose the answer to a link that was made and try again: the link count tells (open(2), O_EXCL).
    struct stat information;
    if (stat(beside.c_str(), &information) == 0 && information.st_nlink == 2) error = 0;
  }
  if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS) {
    // No hard links here (FUSE, FAT): a rename that does not replace.
    if (renameat2(AT_FDCWD, beside.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) {
      AFTERIMAGE_RETURN_IF_ERROR(SyncDirectory(FolderOf(path)));
      return true;
    }
    error = errno;
  }
  unlink(beside.c_str());
  if (error == EEXIST) return false;
  if (error != 0) return ErrnoStatus(error, "create", path);
  AFTERIMAGE_RETURN_IF_ERROR(SyncDirectory(FolderOf(path)));
  return true;
}

absl::Status CreateDirectories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), "create folder", path);
  // create_directories is content with any existing name that a trailing component resolves to.
  if (!fs::is_directory(path, error)) return ErrnoStatus(ENOTDIR, "create folder", path);
  return absl::OkStatus();
}

absl::Status SyncDirectory(const fs::path& path) { return SyncPath(path, O_DIRECTORY); }

absl::Status SyncFile(const fs::path& path) { return SyncPath(path, 0); }

}  // namespace afterimage
