// The local implementation of EpochSource, over any FeatureStore.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/feature/feature_catalog.h"
#include "core/order/epoch_source.h"

namespace afterimage {

class EpochOpener;

// Walks the order with a pool of reader threads into an ordered ring. Read-ahead is bounded by the request's credit: a frame's bytes
// count from the moment it is read until ReturnCredit. The server's ReadEpoch and a trainer on a folder are both this class.
// Sets and manifests stay opened; each Open sees what has been published before. Streams may live longer than the reader.
class EpochReader : public EpochSource {
 public:
  struct Options {
    int num_threads = 1;       // per stream, beside the one that calls Next; more for a cold disk
    size_t max_slots = 1024;   // read-ahead in frames, whatever their size
    std::function<absl::Time()> now = absl::Now;  // for EpochFrame::waited; read only where Next waits
  };

  // `catalog` must outlive the reader and its streams.
  EpochReader(FeatureCatalog* catalog, Options options);
  ~EpochReader() override;

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override;

 private:
  const Options options_;
  const std::unique_ptr<EpochOpener> opener_;
};

}  // namespace afterimage
