// A lock between processes, and between sessions of one process.
#pragma once

#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"

namespace afterimage {

// An exclusive flock(2) on a file, held until destruction; the kernel frees it when the process dies, however
// it dies. Two locks of one process on the same file exclude each other too. Holds on one host and on NFSv4.
class FileLock {
 public:
  // Creates the file where needed. Null: somebody else holds the lock.
  static absl::StatusOr<std::unique_ptr<FileLock>> Try(const std::filesystem::path& path);
  // Waits for the lock: for short critical sections only.
  static absl::StatusOr<std::unique_ptr<FileLock>> Wait(const std::filesystem::path& path);

  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}

  const int fd_;
};

}  // namespace afterimage
