// The manifests of a cache and their labels, as files.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "core/feature/manifest.h"

namespace afterimage {

// manifests/<digest>/{keys, labels/<digest>, labels/latest}. Immutable files but for `latest`, which holds
// the digest of the table that was put last. A manifest that was read once stays in memory. Thread-safe, also
// between processes.
class ManifestFolder {
 public:
  explicit ManifestFolder(std::filesystem::path root) : root_(std::move(root)) {}

  absl::Status Put(const Manifest& manifest);
  // NotFound lists what there is. DataLoss: the file is damaged, or another manifest's.
  absl::StatusOr<std::shared_ptr<const Manifest>> Get(const Digest256& digest) const;
  // Ascending.
  absl::StatusOr<std::vector<Digest256>> List() const;

  absl::Status PutLabels(const Digest256& manifest, const LabelTable& labels);
  absl::StatusOr<LabelTable> GetLabels(const Digest256& manifest) const;

 private:
  std::filesystem::path FolderOf(const Digest256& digest) const { return root_ / digest.Hex(); }

  const std::filesystem::path root_;
  mutable std::mutex mutex_;
  mutable std::map<Digest256, std::shared_ptr<const Manifest>> read_;
};

// The digests that name entries of a folder, ascending; other names are not ours. Empty where there is no
// folder.
absl::StatusOr<std::vector<Digest256>> DigestsIn(const std::filesystem::path& folder);

}  // namespace afterimage
