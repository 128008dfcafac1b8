// One unit on its way into a set in a folder.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "cache_server/storage/disk_budget.h"
#include "cache_server/storage/record_spool.h"
#include "cache_server/storage/set_session.h"
#include "core/feature/manifest.h"
#include "core/feature/unit_writer.h"

namespace afterimage {

// Collects the unit's blocks in any order, then writes one SST file per view seed and has them ingested in
// one call, or leaves them durable in incoming/ where another process ingests. Not thread-safe.
class RocksDbUnitWriter : public UnitWriter {
 public:
  RocksDbUnitWriter(std::shared_ptr<SetSession> session, std::shared_ptr<const Manifest> manifest,
                    UnitLease lease);

  absl::Status Add(const RecordKey& key, ByteSpan block) override;
  absl::StatusOr<PublishReport> Publish(const UnitMetadata& metadata) override;

 private:
  struct Entry {
    RecordSpool::Place place;
    Digest128 digest;
    bool is_failure = false;
    std::string reason;  // of a failure
  };
  // In the order of the store: view seed, then image.
  struct StoreOrder {
    bool operator()(const RecordKey& a, const RecordKey& b) const {
      return std::tie(a.view_seed, a.image) < std::tie(b.view_seed, b.image);
    }
  };
  using Digests = std::map<RecordKey, Digest128>;

  // Digests of contributions to this unit that wait for the ingester.
  absl::StatusOr<Digests> WaitingDigests() const;
  absl::Status CheckWhole(const Digests& waiting, const std::set<RecordKey>& damaged) const;

  const std::shared_ptr<SetSession> session_;
  const std::shared_ptr<const Manifest> manifest_;
  const UnitLease lease_;
  RecordSpool spool_;
  DiskRoom room_;
  std::map<RecordKey, Entry, StoreOrder> entries_;
  bool published_ = false;
};

}  // namespace afterimage
