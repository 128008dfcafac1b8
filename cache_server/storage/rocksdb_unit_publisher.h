// Publishing units into a set in a folder.
#pragma once

#include <memory>

#include "cache_server/storage/manifest_folder.h"
#include "cache_server/storage/set_session.h"
#include "core/feature/unit_writer.h"

namespace afterimage {

// Thread-safe; a writer for each unit in flight.
class RocksDbUnitPublisher : public UnitPublisher {
 public:
  RocksDbUnitPublisher(std::shared_ptr<SetSession> session, std::shared_ptr<const ManifestFolder> manifests)
      : session_(std::move(session)), manifests_(std::move(manifests)) {}

  absl::StatusOr<std::unique_ptr<UnitWriter>> Open(const UnitLease& lease) override;

 private:
  const std::shared_ptr<SetSession> session_;
  const std::shared_ptr<const ManifestFolder> manifests_;
};

}  // namespace afterimage
