// What a set holds, in numbers and in detail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache_server/storage/manifest_folder.h"
#include "cache_server/storage/set_session.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

// From the units' markers; aliases are left empty.
absl::StatusOr<SetSummary> SummarizeSet(SetSession& session, const ManifestFolder& manifests);

// By view seed, then image; at most `limit`.
absl::StatusOr<std::vector<FailureEntry>> FailuresOfSet(SetSession& session, const ManifestFolder& manifests,
                                                        size_t limit);

struct DamagedRecord {
  RecordKey key;
  std::string reason;
};

struct VerifyReport {
  uint64_t num_ok = 0;
  uint64_t num_failed = 0;                 // pictures that cannot be decoded: not an error
  std::vector<DamagedRecord> damaged;      // records whose bytes fail, or that a complete unit lacks
  std::vector<std::string> damaged_files;  // table files whose checksum fails, with both checksums
  uint64_t num_files = 0;
  uint64_t file_bytes = 0;

  // A file may fail where all its records were written anew since: nothing is lost then.
  bool is_clean() const { return damaged.empty() && damaged_files.empty(); }
};

// Called now and then with records done and in total; false ends the verification (Cancelled).
using VerifyProgress = std::function<bool(uint64_t done, uint64_t total)>;

// Reads every record of every complete unit and checks all its sections, then every table file against the
// checksum that was taken when it was written. Reads everything twice, changes nothing.
absl::StatusOr<VerifyReport> VerifySetContent(SetSession& session, const ManifestFolder& manifests,
                                              const VerifyProgress& progress);

}  // namespace afterimage
