#include "client/remote/remote_unit_ledger.h"

#include <algorithm>
#include <utility>

#include "afterimage/v1/units.grpc.pb.h"
#include "client/remote/remote_call.h"
#include "core/base/status_macros.h"
#include "proto/wire/convert.h"

namespace afterimage {
namespace {

// A negative duration is refused by the ledger as one of zero.
uint64_t DurationToWire(absl::Duration duration) {
  return static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Microseconds(duration), 0));
}

}  // namespace

struct RemoteUnitLedger::Stub {
  std::unique_ptr<v1::Units::Stub> units;
};

RemoteUnitLedger::RemoteUnitLedger(std::shared_ptr<Connection> connection, const Digest256& set_id)
    : connection_(std::move(connection)),
      set_id_(set_id),
      stub_(new Stub{v1::Units::NewStub(connection_->channel())}) {}

RemoteUnitLedger::~RemoteUnitLedger() = default;

absl::StatusOr<ClaimResult> RemoteUnitLedger::Claim(const ClaimRequest& request) {
  v1::ClaimRequest wire;
  wire.set_set_id(DigestToWire(set_id_));
  wire.set_manifest(DigestToWire(request.manifest));
  wire.set_num_view_seeds(request.num_view_seeds);
  wire.set_worker(request.worker);
  wire.set_max_units(request.max_units);
  wire.set_seed_major(request.seed_major);
  wire.set_lease_duration_us(DurationToWire(request.lease_duration));
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const auto response,
      CallUnary<v1::ClaimResponse>(*connection_, *stub_->units, &v1::Units::Stub::Claim, wire));
  return FromWire(response);
}

absl::StatusOr<absl::Time> RemoteUnitLedger::Renew(const UnitLease& lease, absl::Duration lease_duration) {
  v1::RenewRequest request;
  request.set_set_id(DigestToWire(set_id_));
  ToWire(lease, request.mutable_lease());
  request.set_lease_duration_us(DurationToWire(lease_duration));
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const auto response,
      CallUnary<v1::RenewResponse>(*connection_, *stub_->units, &v1::Units::Stub::Renew, request));
  return ExpiryFromWire(response.expires_in_us());
}

absl::Status RemoteUnitLedger::Release(const UnitLease& lease) {
  v1::ReleaseRequest request;
  request.set_set_id(DigestToWire(set_id_));
  ToWire(lease, request.mutable_lease());
  return CallUnary<v1::ReleaseResponse>(*connection_, *stub_->units, &v1::Units::Stub::Release, request)
      .status();
}

absl::StatusOr<LedgerProgress> RemoteUnitLedger::Progress(const Digest256& manifest,
                                                          uint32_t num_view_seeds) {
  v1::ProgressRequest request;
  request.set_set_id(DigestToWire(set_id_));
  request.set_manifest(DigestToWire(manifest));
  request.set_num_view_seeds(num_view_seeds);
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const auto response,
      CallUnary<v1::ProgressResponse>(*connection_, *stub_->units, &v1::Units::Stub::Progress, request));
  return FromWire(response);
}

}  // namespace afterimage
