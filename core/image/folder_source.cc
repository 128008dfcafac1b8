#include <filesystem>
#include <utility>

#include "core/base/files.h"
#include "core/image/sources.h"

namespace afterimage::image_internal {
namespace {

class FolderSource : public ListedSource {
 public:
  FolderSource(const std::string& root, EntryList entries, std::vector<std::string> class_names)
      : ListedSource("folder " + root, std::move(entries), std::move(class_names)), root_(root) {}

  absl::StatusOr<std::string> Read(size_t index) const override {
    return ReadFile(root_ / entry(index).name);
  }

 private:
  const std::filesystem::path root_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ImageSource>> OpenFolderSource(const std::string& root, EntryList paths,
                                                              size_t limit) {
  ClassLabels labels;
  for (size_t i = 0; i < paths.size(); ++i) {
    // root/class/…/file: the first folder, as torchvision's ImageFolder.
    const absl::string_view path = paths.name(i);
    const size_t slash = path.find('/');
    labels.Add(slash == absl::string_view::npos ? "" : path.substr(0, slash));
  }
  if (limit > 0) paths.Truncate(limit);
  std::vector<std::string> class_names = labels.Assign(paths);
  return std::make_unique<FolderSource>(root, std::move(paths), std::move(class_names));
}

}  // namespace afterimage::image_internal
