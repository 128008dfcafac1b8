#include "cache_server/storage/choice_folder.h"

#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/unit_marker.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

struct Lease {
  std::string worker;
  absl::Time expires = absl::InfinitePast();
};

// One that cannot be understood has expired.
absl::StatusOr<Lease> ReadLease(const std::filesystem::path& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return Lease();
  if (!text.ok()) return text.status();
  const absl::StatusOr<Json> json = ParseJsonObject(*text, path.string());
  if (!json.ok()) return Lease();
  const absl::StatusOr<std::string> worker = TextField(*json, "worker");
  const absl::StatusOr<std::string> expires = TextField(*json, "expires");
  Lease lease;
  std::string ignored;
  if (!worker.ok() || !expires.ok() ||
      !absl::ParseTime(absl::RFC3339_full, *expires, &lease.expires, &ignored)) {
    return Lease();
  }
  lease.worker = *worker;
  return lease;
}

}  // namespace

absl::StatusOr<std::optional<Digest256>> ChoiceFolder::Decided(const Digest256& request) const {
  const std::filesystem::path path = root_ / request.Hex();
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::optional<Digest256>();
  if (!text.ok()) return text.status();
  const absl::StatusOr<Digest256> set_id = Digest256::FromHex(absl::StripAsciiWhitespace(*text));
  if (!set_id.ok()) {
    return absl::DataLossError(absl::StrCat(path.string(),
                                            " holds no set id; remove it, and the next "
                                            "afterimage-precompute decides again"));
  }
  return std::optional<Digest256>(*set_id);
}

absl::StatusOr<ChoiceClaim> ChoiceFolder::Claim(const Digest256& request, const std::string& worker,
                                                absl::Duration lease_duration) const {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateChoiceClaim(worker, lease_duration));
  ChoiceClaim claim;
  AFTERIMAGE_ASSIGN_OR_RETURN(claim.set_id, Decided(request));
  if (claim.set_id.has_value()) return claim;
  std::error_code ignored;
  if (lease_duration == absl::ZeroDuration() && !std::filesystem::exists(root_, ignored)) {
    claim.holder = worker;  // a lease that ends at once, of which nothing need be written
    return claim;
  }
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(root_));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto lock, FileLock::Wait(root_ / ".lock"));
  AFTERIMAGE_ASSIGN_OR_RETURN(claim.set_id, Decided(request));  // meanwhile
  if (claim.set_id.has_value()) return claim;
  const std::filesystem::path path = root_ / absl::StrCat(request.Hex(), ".lease");
  AFTERIMAGE_ASSIGN_OR_RETURN(const Lease lease, ReadLease(path));
  const absl::Time now = clock_();
  if (lease_duration == absl::ZeroDuration() && lease.worker != worker) {
    claim.holder = lease.expires > now ? lease.worker : worker;
    return claim;
  }
  if (lease.worker != worker && lease.expires > now) {
    claim.holder = lease.worker;
    return claim;
  }
  const std::string expires = absl::FormatTime(absl::RFC3339_full, now + lease_duration, absl::UTCTimeZone());
  AFTERIMAGE_RETURN_IF_ERROR(
      WriteFileAtomically(path, JsonText(Json{{"worker", worker}, {"expires", expires}})));
  claim.holder = worker;
  return claim;
}

absl::StatusOr<Digest256> ChoiceFolder::Decide(const Digest256& request, const Digest256& set_id,
                                               bool replace) const {
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(root_));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto lock, FileLock::Wait(root_ / ".lock"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<Digest256> before, Decided(request));
  if (before.has_value() && !replace) return *before;
  AFTERIMAGE_RETURN_IF_ERROR(WriteFileAtomically(root_ / request.Hex(), absl::StrCat(set_id.Hex(), "\n")));
  std::error_code ignored;
  std::filesystem::remove(root_ / absl::StrCat(request.Hex(), ".lease"), ignored);
  return set_id;
}

}  // namespace afterimage
