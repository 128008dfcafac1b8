// Reads TensorBoard's event files back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace afterimage::trainer::testing {

struct ReadEvent {
  int64_t step = 0;
  std::string file_version;  // of the first event
  bool is_start = false;     // of a run or of a resumed part
  std::string tag;           // of a scalar or a picture; an event of several comes apart
  float scalar = 0;
  std::string png;
};

// All events of one file; the test fails where a record's checksums are not those of a bitwise CRC32C.
std::vector<ReadEvent> ReadEventFile(const std::string& path);
// Of the event files in `folder`, in the order in which they are read, as TensorBoard sees them: a start
// drops what came before of its step and later ones.
std::vector<ReadEvent> ReadEventFolder(const std::string& folder);
// Paths, in order.
std::vector<std::string> EventFiles(const std::string& folder);

}  // namespace afterimage::trainer::testing
