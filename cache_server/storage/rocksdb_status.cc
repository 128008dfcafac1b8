#include "cache_server/storage/rocksdb_status.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace afterimage {

absl::Status FromRocksDb(const rocksdb::Status& status, absl::string_view context) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = absl::StrCat(context, ": ", status.ToString());
  // EFBIG, EDQUOT and EROFS have no subcode of their own.
  const std::string detail = status.ToString();
  const bool no_room = status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit ||
                       absl::StrContains(detail, "File too large") ||
                       absl::StrContains(detail, "Disk quota exceeded");
  if (no_room) {
    return absl::ResourceExhaustedError(
        absl::StrCat(text, "; everything published is kept: free space and run the same command again"));
  }
  if (status.IsCorruption()) return absl::DataLossError(text);
  if (status.IsPathNotFound() || status.IsNotFound()) return absl::NotFoundError(text);
  if (absl::StrContains(detail, "Read-only file system") || absl::StrContains(detail, "Permission denied")) {
    return absl::PermissionDeniedError(text);
  }
  if (status.IsIOError() || status.IsBusy() || status.IsTryAgain() || status.IsTimedOut()) {
    return absl::UnavailableError(text);
  }
  return absl::InternalError(text);
}

}  // namespace afterimage
