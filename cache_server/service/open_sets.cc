#include "cache_server/service/open_sets.h"

namespace afterimage {

absl::StatusOr<OpenedSet> OpenSets::Get(const Digest256& set_id, OpenMode mode) {
  std::lock_guard lock(mutex_);
  const auto known = sets_.find(set_id);
  const bool can_contribute =
      known != sets_.end() && known->second.ledger != nullptr && known->second.publisher != nullptr;
  if (can_contribute || (known != sets_.end() && mode == OpenMode::kRead)) return known->second;
  absl::StatusOr<OpenedSet> opened = catalog_->OpenSet(set_id, OpenMode::kContribute);
  const bool is_hopeless = absl::IsNotFound(opened.status()) || absl::IsDataLoss(opened.status());
  if (!opened.ok() && !is_hopeless && mode == OpenMode::kRead)
    opened = catalog_->OpenSet(set_id, OpenMode::kRead);
  if (!opened.ok()) return opened.status();
  sets_.insert_or_assign(set_id, *opened);
  return opened;
}

void OpenSets::Forget(const Digest256& set_id) {
  std::lock_guard lock(mutex_);
  sets_.erase(set_id);
}

}  // namespace afterimage
