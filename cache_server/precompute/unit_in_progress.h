// A claimed unit while its records are being computed.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/feature/unit_ledger.h"
#include "core/feature/unit_writer.h"

namespace afterimage {

// Takes the blocks of a unit in any order from any thread, and gives them to the writer in the order of the claim
// (ascending keys), holding back only what came too early. Thread-safe.
class UnitInProgress {
 public:
  UnitInProgress(ClaimedUnit claimed, std::unique_ptr<UnitWriter> writer);

  const ClaimedUnit& claimed() const { return claimed_; }
  UnitLease lease() const;
  void SetExpiry(absl::Time expires);

  // The block of claimed().wanted[index]. `failed`: it is the block of a picture that can't be decoded. True when it was
  // the last one: the caller publishes. An abandoned unit swallows its blocks.
  absl::StatusOr<bool> Complete(size_t index, std::string block, bool failed);

  // What coding lost, of one of the records.
  void AddErrors(const std::vector<SampledError>& errors);

  // Publishes with these facts about the worker; counts are filled in here. Call once, after Complete returned true.
  absl::StatusOr<PublishReport> Publish(UnitMetadata metadata);

  // Another worker holds the unit now: what comes is dropped.
  void Abandon() { abandoned_ = true; }
  bool abandoned() const { return abandoned_; }
  uint64_t num_failed() const { return num_failed_; }

 private:
  const ClaimedUnit claimed_;
  mutable std::mutex mutex_;
  absl::Time expires_;
  std::unique_ptr<UnitWriter> writer_;
  std::map<size_t, std::string> early_;   // by index, waiting for what comes before
  size_t next_index_ = 0;
  uint64_t num_failed_ = 0;
  std::vector<SampledError> errors_;
  std::atomic<bool> abandoned_{false};
};

}  // namespace afterimage
