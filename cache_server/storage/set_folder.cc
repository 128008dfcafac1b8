#include "cache_server/storage/set_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/base/files.h"

namespace afterimage {

namespace fs = std::filesystem;

uint64_t SetFolder::MeasureBytes() const {
  uint64_t bytes = 0;
  std::set<ino_t> linked;
  std::error_code error;
  // Files come and go below us while others write: what vanishes does not count.
  for (fs::recursive_directory_iterator entry(root_, error), end; entry != end; entry.increment(error)) {
    if (error) break;
    // Of units that are being written; their writers count those.
    if (entry->path().extension() == ".tmp") {
      entry.disable_recursion_pending();
      continue;
    }
    struct stat information;
    if (lstat(entry->path().c_str(), &information) != 0 || !S_ISREG(information.st_mode)) continue;
    if (information.st_nlink > 1 && !linked.insert(information.st_ino).second) continue;
    bytes += static_cast<uint64_t>(information.st_size);
  }
  return bytes;
}

absl::StatusOr<uint64_t> SetFolder::FreeBytes() const {
  struct statvfs information;
  if (statvfs(root_.c_str(), &information) != 0) return ErrnoStatus(errno, "ask for free space of", root_);
  return uint64_t{information.f_bavail} * information.f_frsize;
}

absl::Status SetFolder::AppendIncident(absl::string_view text) const {
  const int fd = open(incidents().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return ErrnoStatus(errno, "open", incidents());
  const std::string line =
      absl::StrCat(absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone()), " ", text, "\n");
  // One write of O_APPEND: lines of several processes do not mix.
  const bool written = write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  const int error = errno;
  close(fd);
  return written ? absl::OkStatus() : ErrnoStatus(error, "append to", incidents());
}

}  // namespace afterimage
