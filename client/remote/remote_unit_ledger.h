// UnitLedger over gRPC.
#pragma once

#include <memory>

#include "client/remote/connection.h"
#include "core/feature/unit_ledger.h"

namespace afterimage {

// The claims of one set of a server. Thread-safe. A claim whose answer is lost is claimed again; the lost
// lease expires.
class RemoteUnitLedger : public UnitLedger {
 public:
  RemoteUnitLedger(std::shared_ptr<Connection> connection, const Digest256& set_id);
  ~RemoteUnitLedger() override;

  absl::StatusOr<ClaimResult> Claim(const ClaimRequest& request) override;
  absl::StatusOr<absl::Time> Renew(const UnitLease& lease, absl::Duration lease_duration) override;
  absl::Status Release(const UnitLease& lease) override;
  absl::StatusOr<LedgerProgress> Progress(const Digest256& manifest, uint32_t num_view_seeds) override;

 private:
  struct Stub;

  const std::shared_ptr<Connection> connection_;
  const Digest256 set_id_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace afterimage
