// Where the parts of a set lie on the disk.
#pragma once

#include <cstdint>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/digest.h"

namespace afterimage {

// sets/<set id>/ and what is in it. A value; holds nothing open.
class SetFolder {
 public:
  SetFolder(const std::filesystem::path& cache_root, const Digest256& id)
      : id_(id), root_(cache_root / "sets" / id.Hex()) {}

  const Digest256& id() const { return id_; }
  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path spec() const { return root_ / "spec.json"; }
  std::filesystem::path database() const { return root_ / "db"; }
  std::filesystem::path incoming() const { return root_ / "incoming"; }
  std::filesystem::path leases() const { return root_ / "leases"; }
  // Held by the process that ingests.
  std::filesystem::path ingest_lock() const { return root_ / "lock"; }
  std::filesystem::path damaged() const { return root_ / "damaged"; }
  // One line for each thing that a person should know about: units computed twice with other results,
  // contributions refused.
  std::filesystem::path incidents() const { return root_ / "incidents"; }

  // Bytes of all files of the set but those of units that are being written; a file with two names counts
  // once.
  uint64_t MeasureBytes() const;
  // Free bytes of the file system for this user.
  absl::StatusOr<uint64_t> FreeBytes() const;
  absl::Status AppendIncident(absl::string_view text) const;

 private:
  Digest256 id_;
  std::filesystem::path root_;
};

}  // namespace afterimage
