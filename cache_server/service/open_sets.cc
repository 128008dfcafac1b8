#include "cache_server/service/open_sets.h"

namespace afterimage {

absl::StatusOr<OpenedSet> OpenSets::Get(const Digest256& set_id, OpenMode mode) {
  {
    std::lock_guard lock(mutex_);
    if (const OpenedSet* const known = Find(set_id, mode)) return *known;
  }
  const KeyedMutex<Digest256>::Lock opening(opening_, set_id);
  {
    std::lock_guard lock(mutex_);  // somebody else may have opened it meanwhile
    if (const OpenedSet* const known = Find(set_id, mode)) return *known;
  }
  absl::StatusOr<OpenedSet> opened = catalog_->OpenSet(set_id, OpenMode::kContribute);
  const bool is_hopeless = absl::IsNotFound(opened.status()) || absl::IsDataLoss(opened.status());
  if (!opened.ok() && !is_hopeless && mode == OpenMode::kRead)
    opened = catalog_->OpenSet(set_id, OpenMode::kRead);
  if (!opened.ok()) return opened.status();
  std::lock_guard lock(mutex_);
  sets_.insert_or_assign(set_id, *opened);
  return opened;
}

const OpenedSet* OpenSets::Find(const Digest256& set_id, OpenMode mode) const {
  const auto known = sets_.find(set_id);
  if (known == sets_.end()) return nullptr;
  const bool can_contribute = known->second.ledger != nullptr && known->second.publisher != nullptr;
  return can_contribute || mode == OpenMode::kRead ? &known->second : nullptr;
}

void OpenSets::Forget(const Digest256& set_id) {
  const KeyedMutex<Digest256>::Lock opening(opening_, set_id);  // what is being opened is forgotten, too
  std::lock_guard lock(mutex_);
  sets_.erase(set_id);
}

}  // namespace afterimage
