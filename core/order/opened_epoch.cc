#include "core/order/opened_epoch.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage {

absl::StatusOr<OpenedEpoch> EpochOpener::Open(const EpochRequest& request) {
  AFTERIMAGE_RETURN_IF_ERROR(request.order.Validate());
  OpenedEpoch opened;
  AFTERIMAGE_ASSIGN_OR_RETURN(opened.store, Store(request.set_id));
  AFTERIMAGE_ASSIGN_OR_RETURN(opened.manifest, GetManifest(request.order));
  AFTERIMAGE_ASSIGN_OR_RETURN(opened.request,
                              ValidateEpochRequest(request, opened.store->description(), *opened.manifest));
  AFTERIMAGE_RETURN_IF_ERROR(opened.store->Refresh());
  return opened;
}

absl::StatusOr<std::shared_ptr<FeatureStore>> EpochOpener::Store(const Digest256& set_id) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<FeatureStore>& store = stores_[set_id];
  if (store == nullptr) {
    absl::StatusOr<OpenedSet> set = catalog_->OpenSet(set_id, OpenMode::kRead);
    if (!set.ok()) {
      stores_.erase(set_id);
      return set.status();
    }
    store = set->store;
  }
  return store;
}

absl::StatusOr<std::shared_ptr<const Manifest>> EpochOpener::GetManifest(const OrderSpec& order) {
  std::lock_guard lock(mutex_);
  if (const auto known = manifests_.find(order.manifest); known != manifests_.end()) return known->second;
  absl::StatusOr<std::shared_ptr<const Manifest>> manifest = catalog_->GetManifest(order.manifest);
  if (absl::IsNotFound(manifest.status())) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> held, catalog_->ListManifests());
    std::string names;
    for (const Digest256& digest : held) absl::StrAppend(&names, names.empty() ? "" : ", ", digest.Hex());
    return absl::FailedPreconditionError(absl::StrCat("the order is of manifest ", order.manifest.Hex(),
                                                      ", but the source has ", names.empty() ? "none" : names));
  }
  if (!manifest.ok()) return manifest.status();
  manifests_.emplace(order.manifest, *manifest);
  return *manifest;
}

}  // namespace afterimage
