// The leases of a set's units, as files.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// leases/<unit>: JSON {worker, token, expires, pid, host}; pid and host are text for people. A unit without a
// file is free, one whose lease has expired may be taken over. Any number of processes and hosts use one
// table at once. Thread-safe.
//
// A lease is made by an exclusive create. It is changed or removed only under an flock on leases/.lock; a
// take-over moreover renames the old file away and looks at what it got before it creates its own, so that
// where flock does not reach (old network file systems) two thieves still do not both win. Should they: a
// unit is computed twice and stored once. Hosts that share a table need clocks that agree to within a
// fraction of the lease duration.
class LeaseTable {
 public:
  using Clock = std::function<absl::Time()>;

  LeaseTable(std::filesystem::path folder, Clock clock)
      : folder_(std::move(folder)), clock_(std::move(clock)) {}

  // Empty when another lease on the unit is alive.
  absl::StatusOr<std::optional<UnitLease>> Acquire(const UnitId& unit, const std::string& worker,
                                                   absl::Duration duration);
  // The new expiry. A lease that has expired but was not taken over goes on.
  // FailedPrecondition: it is not (any more) ours.
  absl::StatusOr<absl::Time> Renew(const UnitLease& lease, absl::Duration duration);
  // Removes the lease if it is ours; OK otherwise.
  absl::Status Release(const UnitLease& lease);
  // FailedPrecondition unless the file says that the lease is ours.
  absl::Status CheckOurs(const UnitLease& lease) const;

  // Living leases by unit name (UnitId::ToString()), with their workers.
  absl::StatusOr<std::map<std::string, std::string>> Living() const;

 private:
  struct Entry {
    std::string worker;
    std::string token;
    absl::Time expires;
  };

  std::filesystem::path PathOf(const UnitId& unit) const { return folder_ / unit.ToString(); }
  // Empty when there is no such file. A file that cannot be understood is an expired lease.
  static absl::StatusOr<std::optional<Entry>> ReadEntry(const std::filesystem::path& path);
  static std::string Serialize(const Entry& entry);
  absl::StatusOr<bool> TakeOver(const std::filesystem::path& path, const Entry& ours);

  const std::filesystem::path folder_;
  const Clock clock_;
};

}  // namespace afterimage
