// What the implementations of EpochSource over a FeatureCatalog share: the set, the manifest and the checked request.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "core/feature/feature_catalog.h"
#include "core/order/epoch_source.h"

namespace afterimage {

struct OpenedEpoch {
  std::shared_ptr<FeatureStore> store;
  std::shared_ptr<const Manifest> manifest;
  EpochRequest request;  // checked, with step_end filled in
};

// Opens the parts of epochs and keeps sets and manifests opened. Thread-safe.
class EpochOpener {
 public:
  // `catalog` must outlive the opener; what it has opened may live longer than the opener.
  explicit EpochOpener(FeatureCatalog* catalog) : catalog_(catalog) {}

  // Errors as EpochSource::Open. Refreshes the store, so that the stream sees what has been published before.
  absl::StatusOr<OpenedEpoch> Open(const EpochRequest& request);

 private:
  absl::StatusOr<std::shared_ptr<FeatureStore>> Store(const Digest256& set_id);
  absl::StatusOr<std::shared_ptr<const Manifest>> GetManifest(const OrderSpec& order);

  FeatureCatalog* const catalog_;
  std::mutex mutex_;
  std::map<Digest256, std::shared_ptr<FeatureStore>> stores_;
  std::map<Digest256, std::shared_ptr<const Manifest>> manifests_;
};

}  // namespace afterimage
