// A file that grows at its end, of a program that outlives a full disk.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

// What is appended waits in memory for Flush; what Flush cannot write goes on waiting for the next one, so
// that nothing is lost or written twice where the disk was full for a while. Not thread-safe.
class AppendFile {
 public:
  // The file then holds `content` and nothing else. Errors of WriteFileAtomically.
  static absl::StatusOr<std::unique_ptr<AppendFile>> Create(const std::string& path,
                                                            absl::string_view content = {});
  // Tries to write what still waits.
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void Append(absl::string_view bytes) { waiting_.append(bytes.data(), bytes.size()); }
  // ResourceExhausted: the disk is full.
  absl::Status Flush();
  const std::string& path() const { return path_; }
  // To append to in place.
  std::string& waiting() { return waiting_; }

 private:
  AppendFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  const std::string path_;
  const int fd_;
  std::string waiting_;
};

}  // namespace afterimage::trainer
