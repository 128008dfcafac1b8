#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/image/random_access_file.h"
#include "core/image/sources.h"
#include "core/image/tar_index.h"

namespace afterimage::image_internal {
namespace {

constexpr uint64_t kMaxLabelBytes = 32;  // of a .cls member: a decimal number and white space
constexpr int32_t kMaxLabel = 1000000;

struct Shard {
  std::string path;
  FileStamp stamp;  // when the index was read
};

struct Location {
  uint32_t shard = 0;
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
};

// Shards are opened for each read: a data set can have more of them than a process may hold open.
class TarSource : public ListedSource {
 public:
  TarSource(const std::string& what, EntryList entries, std::vector<std::string> class_names,
            std::vector<Shard> shards, std::vector<Location> locations)
      : ListedSource(what, std::move(entries), std::move(class_names)),
        shards_(std::move(shards)),
        locations_(std::move(locations)) {}

  absl::StatusOr<std::string> Read(size_t index) const override {
    const Location& location = locations_[index];
    const Shard& shard = shards_[location.shard];
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(shard.path));
    if (file->stamp() != shard.stamp) {
      return absl::DataLossError(absl::StrCat(shard.path, " has been changed since it was opened (size ",
                                              shard.stamp.size_bytes, ", now ", file->size_bytes(),
                                              "): open the source again"));
    }
    return file->ReadAt(location.offset, location.size_bytes);
  }

 private:
  const std::vector<Shard> shards_;
  const std::vector<Location> locations_;
};

// "./a/b.jpg" -> "a/b.jpg".
absl::string_view WithoutDotSlash(absl::string_view name) {
  while (absl::StartsWith(name, "./")) name.remove_prefix(2);
  return name;
}

// The last folder of a member's name, "" where it has none.
std::string FolderOf(absl::string_view name) {
  name = WithoutDotSlash(name);
  const size_t slash = name.rfind('/');
  if (slash == absl::string_view::npos) return "";
  name = name.substr(0, slash);
  const size_t previous = name.rfind('/');
  return std::string(previous == absl::string_view::npos ? name : name.substr(previous + 1));
}

// WebDataset's key of a sample: the name up to the first dot of its last part.
absl::string_view SampleKey(absl::string_view name) {
  const size_t slash = name.rfind('/');
  return name.substr(0, name.find('.', slash == absl::string_view::npos ? 0 : slash));
}

absl::StatusOr<int32_t> ReadLabel(const RandomAccessFile& file, const TarMember& member) {
  int32_t label = -1;
  if (member.size_bytes <= kMaxLabelBytes) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, file.ReadAt(member.offset, member.size_bytes));
    if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &label)) label = -1;
  }
  if (label < 0 || label > kMaxLabel) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), ": ", member.name, " does not hold a class number of 0 to ", kMaxLabel));
  }
  return label;
}

// Gathers the shards one by one, until `limit` images are found.
class TarSourceBuilder {
 public:
  absl::Status AddShard(const std::string& path, const std::string& name, size_t limit) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(path));
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<TarMember> members, ReadTarIndex(*file));
    absl::flat_hash_map<absl::string_view, int32_t> labels;
    for (const TarMember& member : members) {
      if (!absl::EndsWith(member.name, ".cls")) continue;
      AFTERIMAGE_ASSIGN_OR_RETURN(labels[SampleKey(member.name)], ReadLabel(*file, member));
    }
    for (const TarMember& member : members) {
      if (!HasImageSuffix(member.name)) continue;
      if (limit > 0 && entries_.size() == limit) break;
      int32_t number = -1;
      if (const auto label = labels.find(SampleKey(member.name)); label != labels.end()) {
        number = label->second;
        largest_label_ = std::max(largest_label_, number);
      }
      class_labels_.Add(FolderOf(member.name));
      entries_.Add(absl::StrCat(name, ":", member.name), number);
      locations_.push_back({static_cast<uint32_t>(shards_.size()), member.offset, member.size_bytes});
    }
    shards_.push_back({path, file->stamp()});
    return absl::OkStatus();
  }

  size_t num_images() const { return entries_.size(); }

  std::unique_ptr<ImageSource> Build(const std::string& what) && {
    std::vector<std::string> class_names;
    for (int32_t label = 0; label <= largest_label_; ++label) class_names.push_back(absl::StrCat(label));
    if (largest_label_ < 0) class_names = class_labels_.Assign(entries_);
    return std::make_unique<TarSource>(what, std::move(entries_), std::move(class_names), std::move(shards_),
                                       std::move(locations_));
  }

 private:
  EntryList entries_;
  ClassLabels class_labels_;
  std::vector<Shard> shards_;
  std::vector<Location> locations_;
  int32_t largest_label_ = -1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ImageSource>> OpenTarSource(const std::string& what,
                                                           const std::vector<std::string>& shards,
                                                           size_t limit) {
  namespace fs = std::filesystem;
  TarSourceBuilder builder;
  const bool one_folder = std::all_of(shards.begin(), shards.end(), [&](const std::string& path) {
    return fs::path(path).parent_path() == fs::path(shards.front()).parent_path();
  });
  for (const std::string& path : shards) {
    if (limit > 0 && builder.num_images() == limit) break;
    AFTERIMAGE_RETURN_IF_ERROR(
        builder.AddShard(path, one_folder ? fs::path(path).filename().string() : path, limit));
  }
  if (builder.num_images() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no images in the ", what, ": looked for members that end in .jpg, .jpeg, .png, .webp, .pgm, .ppm"));
  }
  return std::move(builder).Build(what);
}

}  // namespace afterimage::image_internal
