// The records of a set that are known to be damaged, so that a claim wants them again.
#pragma once

#include <filesystem>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/identity/image_key.h"

namespace afterimage {

// sets/<id>/damaged: one line "<image key>/<view seed>" each. Verify with repair and contributors that met
// damage add to it; who ingests the record anew removes it. Processes take turns through a lock file beside
// it. Thread-safe.
class DamageList {
 public:
  explicit DamageList(std::filesystem::path path) : path_(std::move(path)) {}

  // Empty when there is no list. DataLoss: a line that is no key.
  absl::StatusOr<std::set<RecordKey>> Read() const;
  absl::Status Add(const std::vector<RecordKey>& keys) const;
  absl::Status Remove(const std::vector<RecordKey>& keys) const;

 private:
  absl::Status Change(const std::vector<RecordKey>& keys, bool add) const;

  const std::filesystem::path path_;
};

}  // namespace afterimage
