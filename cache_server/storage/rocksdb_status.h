// The border at which rocksdb::Status ends.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "rocksdb/status.h"

namespace afterimage {

// `context` names what was tried and where; it comes first in the text.
//   no space, memory or space limit -> ResourceExhausted, with the remedy
//   corruption                      -> DataLoss
//   another process holds the lock  -> Unavailable
//   a missing path                  -> NotFound
//   not supported, bad argument     -> Internal: we asked for it, a defect of ours
//   any other I/O error             -> Unavailable
absl::Status FromRocksDb(const rocksdb::Status& status, absl::string_view context);

}  // namespace afterimage
