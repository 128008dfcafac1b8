#include <filesystem>
#include <utility>

#include "core/base/files.h"
#include "core/image/sources.h"

namespace afterimage::image_internal {
namespace {

class FolderSource : public ListedSource {
 public:
  FolderSource(const std::string& root, std::vector<ImageEntry> entries, std::vector<std::string> class_names)
      : ListedSource("folder " + root, std::move(entries), std::move(class_names)), root_(root) {}

  absl::StatusOr<std::string> Read(size_t index) const override {
    return ReadFile(root_ / entry(index).name);
  }

 private:
  const std::filesystem::path root_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ImageSource>> OpenFolderSource(const std::string& root,
                                                              std::vector<std::string> paths, size_t limit) {
  std::vector<ImageEntry> entries;
  std::vector<std::string> class_of_entry;
  entries.reserve(paths.size());
  class_of_entry.reserve(paths.size());
  for (std::string& path : paths) {
    // root/class/…/file: the first folder, as torchvision's ImageFolder.
    const size_t slash = path.find('/');
    class_of_entry.push_back(slash == std::string::npos ? "" : path.substr(0, slash));
    entries.push_back({std::move(path), std::nullopt});
  }
  std::vector<std::string> class_names = AssignClassLabels(class_of_entry, entries);
  if (limit > 0 && entries.size() > limit) entries.resize(limit);
  return std::make_unique<FolderSource>(root, std::move(entries), std::move(class_names));
}

}  // namespace afterimage::image_internal
