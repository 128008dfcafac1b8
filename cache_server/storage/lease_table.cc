#include "cache_server/storage/lease_table.h"

#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/unit_marker.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

constexpr char kLockName[] = ".lock";

// Random, not derived from pid or host: two workers in two containers may have both in common.
std::string NewToken() {
  std::random_device source;
  std::string token;
  for (int i = 0; i < 4; ++i) absl::StrAppend(&token, absl::Hex(source(), absl::kZeroPad8));
  return token;
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

}  // namespace

std::string LeaseTable::Serialize(const Entry& entry) {
  return JsonText(Json{{"worker", entry.worker},
                       {"token", entry.token},
                       {"expires", absl::FormatTime(absl::RFC3339_full, entry.expires, absl::UTCTimeZone())},
                       {"pid", getpid()},
                       {"host", HostName()}});
}

absl::StatusOr<std::optional<LeaseTable::Entry>> LeaseTable::ReadEntry(const fs::path& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::optional<Entry>();
  if (!text.ok()) return text.status();
  Entry entry{.expires = absl::InfinitePast()};
  const absl::StatusOr<Json> json = ParseJsonObject(*text, path.string());
  if (!json.ok()) return std::optional<Entry>(entry);
  const absl::StatusOr<std::string> worker = TextField(*json, "worker");
  const absl::StatusOr<std::string> token = TextField(*json, "token");
  const absl::StatusOr<std::string> expires = TextField(*json, "expires");
  std::string ignored;
  if (worker.ok() && token.ok() && expires.ok() &&
      absl::ParseTime(absl::RFC3339_full, *expires, &entry.expires, &ignored)) {
    entry.worker = *worker;
    entry.token = *token;
  }
  return std::optional<Entry>(entry);
}

absl::StatusOr<std::optional<UnitLease>> LeaseTable::Acquire(const UnitId& unit, const std::string& worker,
                                                             absl::Duration duration) {
  const fs::path path = PathOf(unit);
  const Entry ours{.worker = worker, .token = NewToken(), .expires = clock_() + duration};
  AFTERIMAGE_ASSIGN_OR_RETURN(bool acquired, CreateFileExclusively(path, Serialize(ours)));
  if (!acquired) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<Entry> theirs, ReadEntry(path));
    if (theirs.has_value() && theirs->expires > clock_()) return std::optional<UnitLease>();
    AFTERIMAGE_ASSIGN_OR_RETURN(acquired, TakeOver(path, ours));
  }
  if (!acquired) return std::optional<UnitLease>();
  return std::optional<UnitLease>(UnitLease{unit, worker, ours.token, ours.expires});
}

absl::StatusOr<bool> LeaseTable::TakeOver(const fs::path& path, const Entry& ours) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto lock, FileLock::Wait(folder_ / kLockName));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<Entry> seen, ReadEntry(path));
  if (seen.has_value()) {
    if (seen->expires > clock_()) return false;
    const fs::path aside = folder_ / absl::StrCat(".", path.filename().string(), ".", ours.token);
    if (rename(path.c_str(), aside.c_str()) != 0) {
      if (errno == ENOENT) return false;  // somebody beyond the reach of the lock was faster
      return ErrnoStatus(errno, "take over lease", path);
    }
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<Entry> taken, ReadEntry(aside));
    const bool as_seen = taken.has_value() && taken->token == seen->token && taken->expires == seen->expires;
    // A lease that was renewed or made in between goes back, unless yet another one is there by now.
    if (!as_seen) link(aside.c_str(), path.c_str());
    unlink(aside.c_str());
    if (!as_seen) return false;
  }
  return CreateFileExclusively(path, Serialize(ours));
}

absl::StatusOr<absl::Time> LeaseTable::Renew(const UnitLease& lease, absl::Duration duration) {
  const fs::path path = PathOf(lease.unit);
  const Entry renewed{.worker = lease.worker, .token = lease.token, .expires = clock_() + duration};
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto lock, FileLock::Wait(folder_ / kLockName));
  AFTERIMAGE_RETURN_IF_ERROR(CheckOurs(lease));
  AFTERIMAGE_RETURN_IF_ERROR(WriteFileAtomically(path, Serialize(renewed)));
  return renewed.expires;
}

absl::Status LeaseTable::Release(const UnitLease& lease) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto lock, FileLock::Wait(folder_ / kLockName));
  if (!CheckOurs(lease).ok()) return absl::OkStatus();
  const fs::path path = PathOf(lease.unit);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, "remove lease", path);
  return absl::OkStatus();
}

absl::Status LeaseTable::CheckOurs(const UnitLease& lease) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<Entry> entry, ReadEntry(PathOf(lease.unit)));
  if (!entry.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "unit ", lease.unit.ToString(), ": the lease of worker ", lease.worker,
        " is gone: it was released, the unit is finished, or it expired and another worker took it"));
  }
  if (entry->token != lease.token) {
    return absl::FailedPreconditionError(
        absl::StrCat("unit ", lease.unit.ToString(), ": the lease of worker ", lease.worker,
                     " has expired, and worker ", entry->worker, " holds the unit now"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> LeaseTable::Living() const {
  std::map<std::string, std::string> living;
  std::error_code error;
  const absl::Time now = clock_();
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    // Hidden: the lock and leases on their way out; with a dot: a lease that is being written.
    if (name.find('.') != std::string::npos) continue;
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<Entry> lease, ReadEntry(entry->path()));
    if (lease.has_value() && lease->expires > now) living[name] = lease->worker;
  }
  if (error) return ErrnoStatus(error.value(), "list", folder_);
  return living;
}

}  // namespace afterimage
