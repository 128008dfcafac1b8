// The sets that the service has opened.
#pragma once

#include <map>
#include <mutex>

#include "absl/status/statusor.h"
#include "core/base/keyed_mutex.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

// Opens each set once and keeps it open, as a contributor where it can: then this process takes in what
// workers publish, and every reader of the catalog shares the session that sees it at once. A set that opens
// slowly keeps only those waiting who want it. Thread-safe.
class OpenSets {
 public:
  // `catalog` must outlive this.
  explicit OpenSets(FeatureCatalog* catalog) : catalog_(catalog) {}

  // Errors as FeatureCatalog::OpenSet. With kRead, a set that cannot be contributed to (a read-only disk) is
  // opened for reading.
  absl::StatusOr<OpenedSet> Get(const Digest256& set_id, OpenMode mode);
  // Closes a set that is no more, once those that read it have ended.
  void Forget(const Digest256& set_id);

 private:
  // Null: not known, or not in this mode.
  const OpenedSet* Find(const Digest256& set_id, OpenMode mode) const;  // with mutex_ held

  FeatureCatalog* const catalog_;
  KeyedMutex<Digest256> opening_;  // taken before mutex_
  std::mutex mutex_;
  std::map<Digest256, OpenedSet> sets_;
};

}  // namespace afterimage
