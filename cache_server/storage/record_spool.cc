#include "cache_server/storage/record_spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage {

RecordSpool::~RecordSpool() {
  if (fd_ >= 0) close(fd_);
}

absl::Status RecordSpool::OpenFile() {
  fd_ = open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ >= 0) return absl::OkStatus();
  // NFS and FUSE have no O_TMPFILE.
  std::string pattern = (folder_ / ".spool.XXXXXX.tmp").string();
  fd_ = mkostemps(pattern.data(), 4, O_CLOEXEC);
  if (fd_ < 0) return ErrnoStatus(errno, "create", pattern);
  unlink(pattern.c_str());
  return absl::OkStatus();
}

absl::StatusOr<RecordSpool::Place> RecordSpool::Append(ByteSpan block) {
  if (memory_.size() + block.size() <= memory_bytes_) {
    const Place place{false, memory_.size(), block.size()};
    memory_.append(reinterpret_cast<const char*>(block.data()), block.size());
    return place;
  }
  if (fd_ < 0) AFTERIMAGE_RETURN_IF_ERROR(OpenFile());
  const Place place{true, file_bytes_, block.size()};
  for (size_t done = 0; done < block.size();) {
    const ssize_t written =
        pwrite(fd_, block.data() + done, block.size() - done, static_cast<off_t>(place.offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "write temporary file in", folder_);
    done += static_cast<size_t>(written);
  }
  file_bytes_ += block.size();
  return place;
}

absl::StatusOr<ByteSpan> RecordSpool::Read(const Place& place, std::string& buffer) const {
  if (!place.in_file) {
    return ByteSpan(reinterpret_cast<const uint8_t*>(memory_.data()) + place.offset, place.length);
  }
  buffer.resize(place.length);
  for (size_t done = 0; done < place.length;) {
    const ssize_t count =
        pread(fd_, buffer.data() + done, place.length - done, static_cast<off_t>(place.offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, "read temporary file in", folder_);
    if (count == 0)
      return absl::DataLossError(absl::StrCat("temporary file in ", folder_.string(), " is too short"));
    done += static_cast<size_t>(count);
  }
  return AsBytes(buffer);
}

}  // namespace afterimage
