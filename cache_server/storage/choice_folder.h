// What requests were decided to mean, as files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

// choices/<request>: the set's id in hexadecimal. choices/<request>.lease: JSON {worker, expires} of the
// worker that is deciding. Both change under a lock, choices/.lock. Thread-safe, also between processes.
class ChoiceFolder {
 public:
  ChoiceFolder(std::filesystem::path root, std::function<absl::Time()> clock)
      : root_(std::move(root)), clock_(std::move(clock)) {}

  // As FeatureCatalog.
  absl::StatusOr<ChoiceClaim> Claim(const Digest256& request, const std::string& worker,
                                    absl::Duration lease_duration) const;
  absl::StatusOr<Digest256> Decide(const Digest256& request, const Digest256& set_id, bool replace) const;

 private:
  absl::StatusOr<std::optional<Digest256>> Decided(const Digest256& request) const;

  const std::filesystem::path root_;
  const std::function<absl::Time()> clock_;
};

}  // namespace afterimage
