// Where pictures come from: a folder, tar shards, idx files.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"

namespace afterimage {

// One picture of a source: where it lies and what is known about it. The content has not been looked at.
struct ImageEntry {
  std::string name;              // for people: path below the root, "shard.tar:member", "train-images.idx#17"
  std::optional<int32_t> label;  // index into class_names(), where the source has labels
};

// A fixed, ordered list of pictures. Folder: every file with an image suffix below it, sorted by path; a
// class folder layout (root/class/file) gives labels. Tar: one file, or every *.tar below a folder or of a
// brace or glob pattern; labels from the member's folder, or WebDataset-style from a NAME.cls beside
// NAME.jpg. Idx: an images file, plain or gzip, with the labels file of the same prefix beside it; each
// picture's bytes are its binary PGM/PPM encoding. Thread-safe after Open: Read may be called from many
// threads.
class ImageSource {
 public:
  virtual ~ImageSource() = default;

  virtual size_t size() const = 0;
  virtual ImageEntry entry(size_t index) const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;

  // The encoded file. NotFound when it has gone, DataLoss when a tar has been cut or changed.
  virtual absl::StatusOr<std::string> Read(size_t index) const = 0;

  // A text that says what was opened, for messages: "folder /data/x (1,203 images)".
  virtual std::string Description() const = 0;
};

// Opens PATH by looking at it. `limit` keeps the first so many entries (0 = all). Errors name the path and
// what was looked for: NotFound; InvalidArgument for a folder without images and for a file that is none of
// the kinds; DataLoss for a tar or idx file that is cut short.
absl::StatusOr<std::unique_ptr<ImageSource>> OpenImageSource(const std::string& path, size_t limit = 0);

}  // namespace afterimage
