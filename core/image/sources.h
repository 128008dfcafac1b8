// The kinds of image sources behind OpenImageSource. Private to this room.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/image/entry_list.h"
#include "core/image/image_source.h"

namespace afterimage::image_internal {

// .jpg, .jpeg, .png, .webp, .pgm, .ppm, in any case. Names that begin with a dot (macOS leaves "._x.jpg") do
// not count.
bool HasImageSuffix(absl::string_view name);

// What Description says of `what`: "<what> (1,203 images[, 10 classes])".
std::string Describe(absl::string_view what, size_t num_images, size_t num_classes);

// Everything of a source but its bytes.
class ListedSource : public ImageSource {
 public:
  size_t size() const override { return entries_.size(); }
  ImageEntry entry(size_t index) const override { return entries_.at(index); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string Description() const override { return Describe(what_, size(), class_names_.size()); }

 protected:
  ListedSource(std::string what, EntryList entries, std::vector<std::string> class_names)
      : what_(std::move(what)), entries_(std::move(entries)), class_names_(std::move(class_names)) {}

 private:
  const std::string what_;
  const EntryList entries_;
  const std::vector<std::string> class_names_;
};

// `paths`: image files below `root`, relative to it, sorted.
absl::StatusOr<std::unique_ptr<ImageSource>> OpenFolderSource(const std::string& root, EntryList paths,
                                                              size_t limit);
// `shards`: tar files in order; `what` names them in messages.
absl::StatusOr<std::unique_ptr<ImageSource>> OpenTarSource(const std::string& what,
                                                           const std::vector<std::string>& shards,
                                                           size_t limit);
absl::StatusOr<std::unique_ptr<ImageSource>> OpenIdxSource(const std::string& path, size_t limit);

// Whether the first bytes (of what gzip unpacks to, if it is gzip) are those of an idx file of images. False
// if unreadable.
bool LooksLikeIdxImages(const std::string& path);
// The same for an idx file of labels.
bool LooksLikeIdxLabels(const std::string& path);

}  // namespace afterimage::image_internal
