#include "cache_server/storage/profile_folder.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/manifest_folder.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

absl::Status ProfileFolder::Put(const FeatureProfile& profile) {
  if (Get(profile.digest()).ok()) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(root_));
  return WriteFileAtomically(root_ / profile.digest().Hex(), profile.Serialize());
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> ProfileFolder::Get(const Digest256& digest) const {
  {
    std::lock_guard lock(mutex_);
    const auto known = read_.find(digest);
    if (known != read_.end()) return known->second;
  }
  const std::filesystem::path path = root_ / digest.Hex();
  const absl::StatusOr<std::string> bytes = ReadFile(path);
  if (absl::IsNotFound(bytes.status())) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> known, List());
    return NoSuchProfile(digest, known);
  }
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<FeatureProfile> profile = FeatureProfile::Parse(AsBytes(*bytes));
  if (!profile.ok()) return WithContext(profile.status(), path.string());
  if (profile->digest() != digest) {
    return absl::DataLossError(absl::StrCat(path.string(), " is the profile ", profile->digest().Hex()));
  }
  auto shared = std::make_shared<const FeatureProfile>(*std::move(profile));
  std::lock_guard lock(mutex_);
  return read_.emplace(digest, std::move(shared)).first->second;
}

absl::StatusOr<std::vector<Digest256>> ProfileFolder::List() const { return DigestsIn(root_); }

}  // namespace afterimage
