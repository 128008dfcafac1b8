// TensorBoard's event files, written without TensorFlow.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/image/rgb_image.h"
#include "trainer/run/append_file.h"
#include "trainer/run/metrics_log.h"

namespace afterimage::trainer {

// <folder>/events.out.tfevents.<seconds since 1970>.<host>.<pid>: TFRecords (length, masked CRC32C, bytes,
// masked CRC32C) of the messages of event.proto. A folder's files are read in the order of their names; each
// resumed part of a run begins another one, which sorts after those that are there, and from whose first step
// on it counts. Not thread-safe.
class EventFile {
 public:
  // `next_step`: the first that will be written. Errors of AppendFile::Create.
  static absl::StatusOr<std::unique_ptr<EventFile>> Create(const std::string& folder, uint64_t next_step);

  // Points of the curves with these names ("train/loss") at `step`.
  void Scalars(uint64_t step, std::span<const NamedValue> values);
  // Internal: not encodable (no pixels).
  absl::Status Image(uint64_t step, absl::string_view tag, const RgbImage& image);
  // ResourceExhausted when the disk is full; the events are kept for the next call.
  absl::Status Flush() { return file_->Flush(); }
  const std::string& path() const { return file_->path(); }

 private:
  explicit EventFile(std::unique_ptr<AppendFile> file) : file_(std::move(file)) {}
  const std::unique_ptr<AppendFile> file_;
};

}  // namespace afterimage::trainer
