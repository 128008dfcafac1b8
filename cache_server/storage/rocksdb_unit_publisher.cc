#include "cache_server/storage/rocksdb_unit_publisher.h"

#include <utility>

#include "cache_server/storage/rocksdb_unit_writer.h"
#include "core/base/status_macros.h"

namespace afterimage {

absl::StatusOr<std::unique_ptr<UnitWriter>> RocksDbUnitPublisher::Open(const UnitLease& lease) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<const Manifest> manifest, manifests_->Get(lease.unit.manifest));
  AFTERIMAGE_RETURN_IF_ERROR(session_->leases().CheckOurs(lease));
  return std::make_unique<RocksDbUnitWriter>(session_, std::move(manifest), lease);
}

}  // namespace afterimage
