// Pictures that exist in memory only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/image/image_source.h"

namespace afterimage::testing {

class MemoryImageSource : public ImageSource {
 public:
  explicit MemoryImageSource(std::vector<std::string> files) : files_(std::move(files)) {
    for (size_t i = 0; i < files_.size(); ++i) entries_.push_back({absl::StrCat("memory#", i), std::nullopt});
  }

  // `count` different grey pictures of 12 x 10, as PGM.
  static std::shared_ptr<MemoryImageSource> WithPictures(size_t count) {
    std::vector<std::string> files;
    for (size_t i = 0; i < count; ++i) {
      std::string file = "P5\n12 10\n255\n";
      for (size_t p = 0; p < 120; ++p) file.push_back(static_cast<char>((p * (i + 3) + i * 31) % 251));
      files.push_back(file);
    }
    return std::make_shared<MemoryImageSource>(std::move(files));
  }

  size_t size() const override { return files_.size(); }
  ImageEntry entry(size_t index) const override { return entries_.at(index); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  absl::StatusOr<std::string> Read(size_t index) const override { return files_.at(index); }
  std::string Description() const override { return absl::StrCat("memory (", files_.size(), " images)"); }

 private:
  std::vector<std::string> files_;
  std::vector<ImageEntry> entries_;
  std::vector<std::string> class_names_;
};

}  // namespace afterimage::testing
