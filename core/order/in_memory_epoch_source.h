// The plainest implementation of EpochSource: one record at a time, when it is asked for.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "core/feature/feature_catalog.h"
#include "core/order/epoch_source.h"
#include "core/order/opened_epoch.h"

namespace afterimage {

// Reads in the caller's thread, never ahead, so that a test of something else has neither threads nor credits to think of.
class InMemoryEpochSource : public EpochSource {
 public:
  // `catalog` must outlive the source and its streams.
  explicit InMemoryEpochSource(FeatureCatalog* catalog) : opener_(catalog) {}

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override;

 private:
  EpochOpener opener_;
};

}  // namespace afterimage
