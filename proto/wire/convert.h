// Between the messages of proto/afterimage/v1 and the types of core. What comes from the wire is checked:
// InvalidArgument names the field.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "afterimage/v1/catalog.pb.h"
#include "afterimage/v1/common.pb.h"
#include "afterimage/v1/epochs.pb.h"
#include "afterimage/v1/units.pb.h"
#include "core/base/shared_memory.h"
#include "core/feature/feature_catalog.h"
#include "core/feature/feature_store.h"
#include "core/feature/unit_ledger.h"
#include "core/feature/unit_writer.h"
#include "core/order/epoch_source.h"

namespace afterimage {

std::string DigestToWire(const Digest256& digest);
absl::StatusOr<Digest256> DigestFromWire(absl::string_view field, const std::string& bytes);
// 16 bytes, the low half first, each little-endian.
std::string DigestToWire(const Digest128& digest);
absl::StatusOr<Digest128> Digest128FromWire(absl::string_view field, const std::string& bytes);

std::string ImageToWire(const ImageKey& key);
absl::StatusOr<ImageKey> ImageFromWire(const std::string& bytes);
void ToWire(const RecordKey& key, v1::RecordKey* wire);
absl::StatusOr<RecordKey> FromWire(const v1::RecordKey& wire);

v1::RecordState ToWire(RecordState state);
absl::StatusOr<RecordState> FromWire(v1::RecordState wire);

void ToWire(const Selection& selection, v1::Selection* wire);
absl::StatusOr<Selection> FromWire(const v1::Selection& wire);

void ToWire(const SetSummary& summary, v1::SetSummary* wire);
absl::StatusOr<SetSummary> FromWire(const v1::SetSummary& wire);

void ToWire(const EpochRequest& request, v1::EpochRequest* wire);
absl::StatusOr<EpochRequest> FromWire(const v1::EpochRequest& wire);

void ToWire(const SharedMemoryName& name, v1::SharedRegion* wire);
absl::StatusOr<SharedMemoryName> FromWire(const v1::SharedRegion& wire);

// Expiry travels as the time that is left, so that clocks need not agree.
void ToWire(const UnitLease& lease, v1::Lease* wire);
absl::StatusOr<UnitLease> FromWire(const v1::Lease& wire);
int64_t ExpiryToWire(absl::Time expires);
absl::Time ExpiryFromWire(int64_t expires_in_us);

void ToWire(const ClaimResult& result, v1::ClaimResponse* wire);
absl::StatusOr<ClaimResult> FromWire(const v1::ClaimResponse& wire);

void ToWire(const LedgerProgress& progress, v1::ProgressResponse* wire);
LedgerProgress FromWire(const v1::ProgressResponse& wire);

void ToWire(const PublishReport& report, v1::PublishReport* wire);
PublishReport FromWire(const v1::PublishReport& wire);

// Canonical JSON text of a mask spec.
std::string MaskToWire(const MaskSpec& mask);
absl::StatusOr<MaskSpec> MaskFromWire(const std::string& text);

}  // namespace afterimage
