// Checkpoints of several files: an index beside its shards, as transformers writes them.
#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/tensors/safetensors.h"
#include "core/tensors/safetensors_format.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;
using safetensors::kMaxHeaderBytes;
using safetensors::ParseIndex;

constexpr char kIndexSuffix[] = ".safetensors.index.json";
constexpr char kFileSuffix[] = ".safetensors";

std::string InFolder(const fs::path& folder, const std::string& name) { return (folder / name).string(); }

absl::StatusOr<std::map<std::string, std::string>> ReadIndex(const std::string& path) {
  std::error_code error;
  const uintmax_t num_bytes = fs::file_size(path, error);
  // An index holds no more than the names of a header.
  if (!error && num_bytes > kMaxHeaderBytes) {
    return absl::DataLossError(
        absl::StrCat(num_bytes, " bytes are no index; at most ", kMaxHeaderBytes, " are read"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseIndex(text);
}

// The one checkpoint of a folder: an index, or else a file.
absl::StatusOr<std::string> FindInFolder(const std::string& folder) {
  std::vector<std::string> indexes, files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(kIndexSuffix)) indexes.push_back(name);
    if (name.ends_with(kFileSuffix)) files.push_back(name);
  }
  if (error) return ErrnoStatus(error.value(), "list", folder);
  std::vector<std::string>& found = indexes.empty() ? files : indexes;
  if (found.size() == 1) return InFolder(folder, found.front());
  if (found.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, ": holds no *", kFileSuffix, " and no *", kIndexSuffix));
  }
  std::sort(found.begin(), found.end());
  return absl::InvalidArgumentError(
      absl::StrCat(folder, ": holds several checkpoints, say which one: ", absl::StrJoin(found, ", ")));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::OpenCheckpoint(
    const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string inside, FindInFolder(path));
    return OpenCheckpoint(inside);
  }
  if (!path.ends_with(kIndexSuffix)) return Open(path);

  auto index = ReadIndex(path);
  if (!index.ok()) return WithContext(index.status(), path);
  const fs::path folder = fs::path(path).parent_path();
  std::set<std::string> names;
  for (const auto& [tensor, shard] : *index) names.insert(shard);
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    if (!fs::exists(folder / name, error)) missing.push_back(name);
  }
  if (!missing.empty()) {
    return absl::NotFoundError(absl::StrCat(path, ": of ", names.size(), " shards ", missing.size(),
                                            missing.size() == 1 ? " is" : " are",
                                            " not in the folder: ", absl::StrJoin(missing, ", ")));
  }

  std::shared_ptr<SafetensorsFile> all(new SafetensorsFile);
  all->path_ = path;
  for (const std::string& name : names) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> shard,
                                Open(InFolder(folder, name)));
    for (const auto& [tensor, view] : shard->tensors()) {
      const auto entry = index->find(tensor);
      if (entry == index->end() || entry->second != name) {
        return absl::DataLossError(absl::StrCat(
            path, ": tensor \"", tensor, "\" is in ", name, ", the index has it ",
            entry == index->end() ? std::string("nowhere") : absl::StrCat("in ", entry->second)));
      }
      all->tensors_[tensor] = view;
    }
    all->metadata_.insert(shard->metadata().begin(), shard->metadata().end());
    all->owners_.push_back(shard);
  }
  for (const auto& [tensor, shard] : *index) {
    if (!all->tensors_.contains(tensor)) {
      return absl::DataLossError(absl::StrCat(path, ": tensor \"", tensor, "\" is not in ", shard));
    }
  }
  return all;
}

}  // namespace afterimage
