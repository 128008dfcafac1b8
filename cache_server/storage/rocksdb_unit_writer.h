// One unit on its way into a set in a folder.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "cache_server/storage/contribution_writer.h"
#include "cache_server/storage/disk_budget.h"
#include "cache_server/storage/record_spool.h"
#include "cache_server/storage/set_session.h"
#include "core/feature/manifest.h"
#include "core/feature/unit_writer.h"

namespace afterimage {

// Writes the unit's blocks as they come into one SST file per view seed, and has the files ingested in one
// call, or leaves them durable in incoming/ where another process ingests. SST files want their keys in
// order: blocks that come late wait in a spool, and then, as where others have published records of the unit
// meanwhile, the files are written once more. Not thread-safe.
class RocksDbUnitWriter : public UnitWriter {
 public:
  RocksDbUnitWriter(std::shared_ptr<SetSession> session, std::shared_ptr<const Manifest> manifest,
                    UnitLease lease);

  absl::Status Add(const RecordKey& key, ByteSpan block) override;
  absl::StatusOr<PublishReport> Publish(const UnitMetadata& metadata) override;

 private:
  struct Entry {
    std::optional<RecordSpool::Place> late;  // where it waits if it is not in the files
    uint64_t length = 0;
    Digest128 digest;
    bool is_failure = false;
    std::string reason;    // of a failure
    bool is_held = false;  // by the set already: not to be written
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
  absl::Status OpenFiles();
  // Puts in the place of the files those that hold what is late too, and not what is held.
  absl::Status RewriteFiles();

  const std::shared_ptr<SetSession> session_;
  const std::shared_ptr<const Manifest> manifest_;
  const UnitLease lease_;
  std::unique_ptr<ContributionWriter> files_;
  std::map<uint32_t, ImageKey> last_written_;  // by view seed
  RecordSpool spool_;
  DiskRoom room_;
  std::map<RecordKey, Entry, StoreOrder> entries_;
  bool published_ = false;
};

}  // namespace afterimage
