#include "trainer/run/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {

absl::StatusOr<std::unique_ptr<AppendFile>> AppendFile::Create(const std::string& path,
                                                               absl::string_view content) {
  AFTERIMAGE_RETURN_IF_ERROR(WriteFileAtomically(path, content));
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  return std::unique_ptr<AppendFile>(new AppendFile(path, fd));
}

AppendFile::~AppendFile() {
  Flush().IgnoreError();  // whoever cares has flushed
  close(fd_);
}

absl::Status AppendFile::Flush() {
  size_t done = 0;
  absl::Status status;
  while (done < waiting_.size()) {
    const ssize_t written = write(fd_, waiting_.data() + done, waiting_.size() - done);
    if (written >= 0) {
      done += static_cast<size_t>(written);
    } else if (errno != EINTR) {
      status = ErrnoStatus(errno, "write", path_);
      break;
    }
  }
  waiting_.erase(0, done);
  return status;
}

}  // namespace afterimage::trainer
