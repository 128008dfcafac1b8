#include "cache_server/storage/manifest_folder.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

constexpr char kKeysName[] = "keys";
constexpr char kLabelsName[] = "labels";
constexpr char kLatestName[] = "latest";

}  // namespace

absl::StatusOr<std::vector<Digest256>> DigestsIn(const fs::path& folder) {
  std::vector<Digest256> digests;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const absl::StatusOr<Digest256> digest = Digest256::FromHex(entry->path().filename().string());
    if (digest.ok()) digests.push_back(*digest);
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return ErrnoStatus(error.value(), "list", folder);
  std::sort(digests.begin(), digests.end());
  return digests;
}

absl::Status ManifestFolder::Put(const Manifest& manifest) {
  const fs::path folder = FolderOf(manifest.digest());
  if (Get(manifest.digest()).ok()) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(folder));
  return WriteFileAtomically(folder / kKeysName, manifest.Serialize());
}

absl::StatusOr<std::shared_ptr<const Manifest>> ManifestFolder::Get(const Digest256& digest) const {
  {
    std::lock_guard lock(mutex_);
    const auto known = read_.find(digest);
    if (known != read_.end()) return known->second;
  }
  const fs::path path = FolderOf(digest) / kKeysName;
  const absl::StatusOr<std::string> bytes = ReadFile(path);
  if (absl::IsNotFound(bytes.status())) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> known, List());
    return absl::NotFoundError(absl::StrCat(
        "no manifest ", digest.Hex(), " in ", root_.string(), "; there ",
        known.empty()
            ? std::string("is none")
            : absl::StrCat("are: ", absl::StrJoin(known, ", ", [](std::string* out, const Digest256& one) {
                             absl::StrAppend(out, one.Hex());
                           }))));
  }
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<Manifest> manifest = Manifest::Parse(AsBytes(*bytes));
  if (!manifest.ok()) return WithContext(manifest.status(), path.string());
  if (manifest->digest() != digest) {
    return absl::DataLossError(absl::StrCat(path.string(), " is the manifest ", manifest->digest().Hex()));
  }
  auto shared = std::make_shared<const Manifest>(*std::move(manifest));
  std::lock_guard lock(mutex_);
  return read_.emplace(digest, std::move(shared)).first->second;
}

absl::StatusOr<std::vector<Digest256>> ManifestFolder::List() const {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<Digest256> digests, DigestsIn(root_));
  std::error_code error;
  std::erase_if(digests,
                [&](const Digest256& digest) { return !fs::exists(FolderOf(digest) / kKeysName, error); });
  return digests;
}

absl::Status ManifestFolder::PutLabels(const Digest256& manifest, const LabelTable& labels) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> keys, Get(manifest));
  AFTERIMAGE_RETURN_IF_ERROR(ValidateLabels(*keys, labels));
  const fs::path folder = FolderOf(manifest) / kLabelsName;
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(folder));
  const std::string digest = labels.Digest().Hex();
  AFTERIMAGE_RETURN_IF_ERROR(WriteFileAtomically(folder / digest, labels.Serialize()));
  return WriteFileAtomically(folder / kLatestName, digest);
}

absl::StatusOr<LabelTable> ManifestFolder::GetLabels(const Digest256& manifest) const {
  AFTERIMAGE_RETURN_IF_ERROR(Get(manifest).status());
  const fs::path folder = FolderOf(manifest) / kLabelsName;
  const absl::StatusOr<std::string> latest = ReadFile(folder / kLatestName);
  if (absl::IsNotFound(latest.status())) {
    return absl::NotFoundError(absl::StrCat("manifest ", manifest.Hex(), " has no labels"));
  }
  if (!latest.ok()) return latest.status();
  const absl::StatusOr<Digest256> digest = Digest256::FromHex(*latest);
  if (!digest.ok())
    return absl::DataLossError(absl::StrCat((folder / kLatestName).string(), " holds no digest"));
  const fs::path path = folder / digest->Hex();
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<LabelTable> labels = LabelTable::Parse(AsBytes(bytes));
  if (!labels.ok()) return WithContext(labels.status(), path.string());
  if (labels->Digest() != *digest) {
    return absl::DataLossError(absl::StrCat(path.string(), " holds the labels ", labels->Digest().Hex()));
  }
  return labels;
}

}  // namespace afterimage
