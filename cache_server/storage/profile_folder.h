// The profiles of a cache, as files.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "core/feature/profile.h"

namespace afterimage {

// profiles/<digest>: immutable files. A profile that was read once stays in memory. Thread-safe, also between
// processes.
class ProfileFolder {
 public:
  explicit ProfileFolder(std::filesystem::path root) : root_(std::move(root)) {}

  absl::Status Put(const FeatureProfile& profile);
  // NotFound lists what there is. DataLoss: the file is damaged, or another profile's.
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> Get(const Digest256& digest) const;
  // Ascending.
  absl::StatusOr<std::vector<Digest256>> List() const;

 private:
  const std::filesystem::path root_;
  mutable std::mutex mutex_;
  mutable std::map<Digest256, std::shared_ptr<const FeatureProfile>> read_;
};

}  // namespace afterimage
