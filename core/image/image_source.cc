#include "core/image/image_source.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/image/path_pattern.h"
#include "core/image/random_access_file.h"
#include "core/image/sources.h"
#include "core/image/tar_index.h"

namespace afterimage {
namespace image_internal {

bool HasImageSuffix(absl::string_view name) {
  const size_t slash = name.rfind('/');
  if (slash != absl::string_view::npos) name.remove_prefix(slash + 1);
  if (absl::StartsWith(name, ".")) return false;
  for (const absl::string_view suffix : {".jpg", ".jpeg", ".png", ".webp", ".pgm", ".ppm"}) {
    if (absl::EndsWithIgnoreCase(name, suffix)) return true;
  }
  return false;
}

std::string Describe(absl::string_view what, size_t num_images, size_t num_classes) {
  std::string digits = absl::StrCat(num_images);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  const std::string classes = num_classes == 0 ? "" : absl::StrCat(", ", num_classes, " classes");
  return absl::StrCat(what, " (", digits, num_images == 1 ? " image" : " images", classes, ")");
}

}  // namespace image_internal

namespace {

namespace fs = std::filesystem;
using image_internal::HasImageSuffix;

constexpr char kLookedFor[] =
    "image files (.jpg, .jpeg, .png, .webp, .pgm, .ppm), tar shards (.tar) and idx files (idx3/idx4-ubyte, "
    "also .gz)";

// What a folder holds of each kind; paths relative to it.
struct FolderContents {
  image_internal::EntryList images;
  std::vector<std::string> tars;
  std::vector<std::string> idx;
};

// Follows links to folders, but not in circles: `open_folders` are those that we are in.
absl::Status ListFolder(const fs::path& folder, const std::string& prefix, std::set<fs::path>& open_folders,
                        FolderContents& contents) {
  std::error_code error;
  const fs::path canonical = fs::canonical(folder, error);
  if (error) return ErrnoStatus(error.value(), "open", folder);
  if (!open_folders.insert(canonical).second) return absl::OkStatus();
  fs::directory_iterator iterator(folder, error);
  for (; !error && iterator != fs::directory_iterator(); iterator.increment(error)) {
    const std::string name = iterator->path().filename().string();
    if (absl::StartsWith(name, ".")) continue;
    const std::string path = prefix + name;
    std::error_code kind_error;  // a dangling link is neither
    if (iterator->is_directory(kind_error)) {
      AFTERIMAGE_RETURN_IF_ERROR(ListFolder(iterator->path(), path + "/", open_folders, contents));
    } else if (!iterator->is_regular_file(kind_error)) {
      continue;
    } else if (HasImageSuffix(name)) {
      contents.images.Add(path);
    } else if (absl::EndsWithIgnoreCase(name, ".tar")) {
      contents.tars.push_back(path);
    } else if (absl::StrContains(name, "idx") &&
               image_internal::LooksLikeIdxImages(iterator->path().string())) {
      contents.idx.push_back(path);
    }
  }
  if (error) return ErrnoStatus(error.value(), "list", folder);
  open_folders.erase(canonical);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ImageSource>> OpenFolder(const std::string& path, size_t limit) {
  FolderContents contents;
  std::set<fs::path> open_folders;
  AFTERIMAGE_RETURN_IF_ERROR(ListFolder(path, "", open_folders, contents));
  contents.images.SortByName();
  for (auto* paths : {&contents.tars, &contents.idx}) std::sort(paths->begin(), paths->end());
  const int num_kinds = (contents.images.size() > 0) + !contents.tars.empty() + !contents.idx.empty();
  if (num_kinds == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("no images in the folder ", path, ": looked for ", kLookedFor));
  }
  if (num_kinds > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the folder ", path, " has ", contents.images.size(), " image files, ",
                     contents.tars.size(), " tar shards and ", contents.idx.size(),
                     " idx files: name a folder with one kind, or one of the files"));
  }
  if (contents.idx.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the folder ", path, " has ", contents.idx.size(), " idx files of images; name one of them: ",
        absl::StrJoin(contents.idx, ", ", [&](std::string* out, const std::string& name) {
          absl::StrAppend(out, (fs::path(path) / name).string());
        })));
  }
  if (contents.images.size() > 0)
    return image_internal::OpenFolderSource(path, std::move(contents.images), limit);
  if (!contents.idx.empty())
    return image_internal::OpenIdxSource((fs::path(path) / contents.idx.front()).string(), limit);
  std::vector<std::string> shards;
  for (const std::string& tar : contents.tars) shards.push_back((fs::path(path) / tar).string());
  return image_internal::OpenTarSource(absl::StrCat("tar shards in ", path), shards, limit);
}

absl::StatusOr<std::unique_ptr<ImageSource>> OpenPattern(const std::string& pattern, size_t limit) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                              image_internal::ExpandPathPattern(pattern));
  for (const std::string& path : paths) {
    if (!absl::EndsWithIgnoreCase(path, ".tar")) {
      return absl::InvalidArgumentError(
          absl::StrCat("the pattern ", pattern, " stands for ", path,
                       ", which is no .tar: patterns name tar shards; for image files "
                       "give their folder"));
    }
  }
  return image_internal::OpenTarSource(absl::StrCat("tar shards ", pattern), paths, limit);
}

absl::StatusOr<std::unique_ptr<ImageSource>> OpenFile(const std::string& path, size_t limit) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, image_internal::RandomAccessFile::Open(path));
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const std::string head,
      file->ReadAt(0, std::min<uint64_t>(file->size_bytes(), image_internal::kTarBlockBytes)));
  if (image_internal::LooksLikeIdxImages(path)) return image_internal::OpenIdxSource(path, limit);
  if (image_internal::LooksLikeIdxLabels(path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is an idx file of labels: name the images file, the labels beside it are found"));
  }
  if (absl::EndsWithIgnoreCase(path, ".tar") || image_internal::IsTarHeader(head)) {
    return image_internal::OpenTarSource(absl::StrCat("tar shard ", path), {path}, limit);
  }
  if (absl::StartsWith(head, "\x1f\x8b")) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is gzip but no idx file; members of a compressed tar cannot be read at random: gunzip it"));
  }
  if (HasImageSuffix(path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a single image: name the folder that it lies in"));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      path, " is no source of images: looked for a folder, a tar shard and an idx file of images"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ImageSource>> OpenImageSource(const std::string& path, size_t limit) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) return OpenFolder(path, limit);
  if (fs::exists(status)) return OpenFile(path, limit);
  if (image_internal::IsPathPattern(path)) return OpenPattern(path, limit);
  if (error && status.type() != fs::file_type::not_found) return ErrnoStatus(error.value(), "open", path);
  return absl::NotFoundError(absl::StrCat("no images at ", path,
                                          ": it does not exist (looked for a folder, a tar shard, "
                                          "an idx file, or a pattern such as shard-{000..004}.tar)"));
}

}  // namespace afterimage
