// Publishing a unit: whole or not at all.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/feature/feature_spec.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// Kept with the unit; `info` shows a mix.
// What coding lost at one level, measured on some of the records while they were encoded.
struct SampledError {
  uint32_t level = 0;
  uint64_t num_records = 0;
  uint64_t num_values = 0;
  double square_sum = 0;  // of the errors
  double largest = 0;     // error, in magnitude

  double Rmse() const;
  bool operator==(const SampledError&) const = default;
};
// Level by level; `sum` is ascending by level.
void AddErrors(const std::vector<SampledError>& more, std::vector<SampledError>& sum);

struct UnitMetadata {
  std::string worker;
  std::string device;            // "cpu: AMD EPYC …", "cuda: H100"
  std::string library_versions;  // "torch 2.11.0, libjpeg-turbo …"
  uint32_t num_threads = 0;
  uint32_t micro_batch = 0;
  uint64_t num_records = 0;
  uint64_t num_failed = 0;
  std::vector<SampledError> errors;  // ascending by level; empty: not measured

  // Counts and errors of another unit that the same kind of worker made.
  void AddCounts(const UnitMetadata& other);
  std::string Serialize() const;  // canonical JSON text
  static absl::StatusOr<UnitMetadata> Parse(absl::string_view text);
};

struct PublishReport {
  uint64_t records_written = 0;
  uint64_t bytes_written = 0;
  uint64_t duplicates_equal = 0;      // already there, same digest
  uint64_t duplicates_different = 0;  // already there with another digest: a non-deterministic teacher
};

// One unit being written. Not thread-safe. Destroyed without Publish, it leaves nothing behind.
class UnitWriter {
 public:
  virtual ~UnitWriter() = default;

  // A feature block or the block of a failed image, in ascending order of (view seed, image key) or any
  // other. InvalidArgument: not a block of this set, or a key outside the unit. ResourceExhausted: disk full
  // or quota.
  virtual absl::Status Add(const RecordKey& key, ByteSpan block) = 0;
  // Makes all of it visible at once, with the completion marker, and ends the lease. A unit that was
  // published in the meantime is not written again: the digests are compared and reported; so is each record
  // that is held already and not damaged. ResourceExhausted: nothing was published. FailedPrecondition: a key
  // of the unit was neither added nor is held (named).
  virtual absl::StatusOr<PublishReport> Publish(const UnitMetadata& metadata) = 0;
};

// What Add refuses in every implementation. InvalidArgument: a key whose shard or seed is outside the unit;
// damaged bytes (every checksum is verified); a part of a record; a block whose geometry, levels, codec,
// tokens, masks, pixels or profile are not the set's.
absl::Status CheckBlockForUnit(const SetDescription& description, const UnitId& unit, const RecordKey& key,
                               ByteSpan block);

// Opens writers for the units of one set. Thread-safe.
class UnitPublisher {
 public:
  virtual ~UnitPublisher() = default;
  // FailedPrecondition: the lease is not (any more) ours.
  virtual absl::StatusOr<std::unique_ptr<UnitWriter>> Open(const UnitLease& lease) = 0;
};

}  // namespace afterimage
