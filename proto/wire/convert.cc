#include "proto/wire/convert.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

template <size_t N>
absl::Status FixedBytes(absl::string_view field, const std::string& bytes, std::array<uint8_t, N>& target) {
  if (bytes.size() != N) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": ", N, " bytes expected, ", bytes.size(), " given"));
  }
  std::memcpy(target.data(), bytes.data(), N);
  return absl::OkStatus();
}

template <size_t N>
std::string FixedText(const std::array<uint8_t, N>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), N);
}

std::string TextOf(const Json& canonical) {
  absl::StatusOr<std::string> text = CanonicalText(canonical);
  return text.ok() ? *std::move(text)
                   : std::string();  // ToCanonical gives canonical JSON; empty text is refused by the reader
}

}  // namespace

std::string DigestToWire(const Digest256& digest) { return FixedText(digest.bytes); }

absl::StatusOr<Digest256> DigestFromWire(absl::string_view field, const std::string& bytes) {
  Digest256 digest;
  AFTERIMAGE_RETURN_IF_ERROR(FixedBytes(field, bytes, digest.bytes));
  return digest;
}

std::string DigestToWire(const Digest128& digest) {
  std::string bytes;
  AppendLittleEndian(digest.low, bytes);
  AppendLittleEndian(digest.high, bytes);
  return bytes;
}

absl::StatusOr<Digest128> Digest128FromWire(absl::string_view field, const std::string& bytes) {
  std::array<uint8_t, 16> raw;
  AFTERIMAGE_RETURN_IF_ERROR(FixedBytes(field, bytes, raw));
  return Digest128{LoadLittleEndian<uint64_t>(raw.data()), LoadLittleEndian<uint64_t>(raw.data() + 8)};
}

std::string ImageToWire(const ImageKey& key) { return FixedText(key.bytes); }

absl::StatusOr<ImageKey> ImageFromWire(const std::string& bytes) {
  ImageKey key;
  AFTERIMAGE_RETURN_IF_ERROR(FixedBytes("image", bytes, key.bytes));
  return key;
}

void ToWire(const RecordKey& key, v1::RecordKey* wire) {
  wire->set_image(key.image.bytes.data(), key.image.bytes.size());
  wire->set_view_seed(key.view_seed);
}

absl::StatusOr<RecordKey> FromWire(const v1::RecordKey& wire) {
  RecordKey key;
  AFTERIMAGE_ASSIGN_OR_RETURN(key.image, ImageFromWire(wire.image()));
  key.view_seed = wire.view_seed();
  return key;
}

v1::RecordState ToWire(RecordState state) {
  switch (state) {
    case RecordState::kOk:
      return v1::RECORD_STATE_OK;
    case RecordState::kMissing:
      return v1::RECORD_STATE_MISSING;
    case RecordState::kDamaged:
      return v1::RECORD_STATE_DAMAGED;
    case RecordState::kFailed:
      return v1::RECORD_STATE_FAILED;
  }
  return v1::RECORD_STATE_UNSPECIFIED;
}

absl::StatusOr<RecordState> FromWire(v1::RecordState wire) {
  switch (wire) {
    case v1::RECORD_STATE_OK:
      return RecordState::kOk;
    case v1::RECORD_STATE_MISSING:
      return RecordState::kMissing;
    case v1::RECORD_STATE_DAMAGED:
      return RecordState::kDamaged;
    case v1::RECORD_STATE_FAILED:
      return RecordState::kFailed;
    default:
      break;
  }
  return absl::InvalidArgumentError(absl::StrCat("state: unknown value ", static_cast<int>(wire)));
}

void ToWire(const Selection& selection, v1::Selection* wire) {
  wire->mutable_levels()->Assign(selection.levels.begin(), selection.levels.end());
  wire->set_no_levels(selection.no_levels);
  wire->set_tokens(selection.tokens == Selection::Tokens::kMask ? v1::Selection::TOKENS_MASK
                                                                : v1::Selection::TOKENS_STORED);
  wire->set_without_pixels(!selection.pixels);
  switch (selection.encoding) {
    case Selection::Encoding::kStored:
      wire->set_encoding(v1::Selection::ENCODING_STORED);
      break;
    case Selection::Encoding::kF32:
      wire->set_encoding(v1::Selection::ENCODING_F32);
      break;
    case Selection::Encoding::kF16:
      wire->set_encoding(v1::Selection::ENCODING_F16);
      break;
    case Selection::Encoding::kBf16:
      wire->set_encoding(v1::Selection::ENCODING_BF16);
      break;
    case Selection::Encoding::kI8x:
      wire->set_encoding(v1::Selection::ENCODING_I8X);
      break;
    case Selection::Encoding::kI6x:
      wire->set_encoding(v1::Selection::ENCODING_I6X);
      break;
    case Selection::Encoding::kI5x:
      wire->set_encoding(v1::Selection::ENCODING_I5X);
      break;
    case Selection::Encoding::kI4x:
      wire->set_encoding(v1::Selection::ENCODING_I4X);
      break;
  }
}

absl::StatusOr<Selection> FromWire(const v1::Selection& wire) {
  Selection selection;
  selection.levels.assign(wire.levels().begin(), wire.levels().end());
  selection.no_levels = wire.no_levels();
  selection.pixels = !wire.without_pixels();
  switch (wire.tokens()) {
    case v1::Selection::TOKENS_STORED:
      selection.tokens = Selection::Tokens::kStored;
      break;
    case v1::Selection::TOKENS_MASK:
      selection.tokens = Selection::Tokens::kMask;
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("selection.tokens: unknown value ", static_cast<int>(wire.tokens())));
  }
  switch (wire.encoding()) {
    case v1::Selection::ENCODING_STORED:
      selection.encoding = Selection::Encoding::kStored;
      break;
    case v1::Selection::ENCODING_F32:
      selection.encoding = Selection::Encoding::kF32;
      break;
    case v1::Selection::ENCODING_F16:
      selection.encoding = Selection::Encoding::kF16;
      break;
    case v1::Selection::ENCODING_BF16:
      selection.encoding = Selection::Encoding::kBf16;
      break;
    case v1::Selection::ENCODING_I8X:
      selection.encoding = Selection::Encoding::kI8x;
      break;
    case v1::Selection::ENCODING_I6X:
      selection.encoding = Selection::Encoding::kI6x;
      break;
    case v1::Selection::ENCODING_I5X:
      selection.encoding = Selection::Encoding::kI5x;
      break;
    case v1::Selection::ENCODING_I4X:
      selection.encoding = Selection::Encoding::kI4x;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("selection.encoding: unknown value ",
                                                     static_cast<int>(wire.encoding()),
                                                     "; known: ", absl::StrJoin(EncodingNames(), ", ")));
  }
  return selection;
}

void ToWire(const SetSummary& summary, v1::SetSummary* wire) {
  wire->set_set_id(DigestToWire(summary.id));
  for (const std::string& alias : summary.aliases) wire->add_aliases(alias);
  wire->set_description(summary.description.Serialize());
  for (const Digest256& manifest : summary.manifests) wire->add_manifests(DigestToWire(manifest));
  wire->set_num_view_seeds(summary.num_view_seeds);
  wire->set_num_records(summary.num_records);
  wire->set_num_failed(summary.num_failed);
  wire->set_stored_bytes(summary.stored_bytes);
  for (const UnitMetadata& worker : summary.workers) wire->add_workers(worker.Serialize());
}

absl::StatusOr<SetSummary> FromWire(const v1::SetSummary& wire) {
  SetSummary summary;
  AFTERIMAGE_ASSIGN_OR_RETURN(summary.id, DigestFromWire("set_id", wire.set_id()));
  summary.aliases.assign(wire.aliases().begin(), wire.aliases().end());
  AFTERIMAGE_ASSIGN_OR_RETURN(summary.description, SetDescription::Parse(wire.description()));
  for (const std::string& bytes : wire.manifests()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 manifest, DigestFromWire("manifests", bytes));
    summary.manifests.push_back(manifest);
  }
  summary.num_view_seeds = wire.num_view_seeds();
  summary.num_records = wire.num_records();
  summary.num_failed = wire.num_failed();
  summary.stored_bytes = wire.stored_bytes();
  for (const std::string& text : wire.workers()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(UnitMetadata worker, UnitMetadata::Parse(text));
    summary.workers.push_back(std::move(worker));
  }
  return summary;
}

void ToWire(const EpochRequest& request, v1::EpochRequest* wire) {
  wire->set_set_id(DigestToWire(request.set_id));
  wire->set_order(TextOf(request.order.ToCanonical()));
  wire->set_epoch(request.epoch);
  wire->set_step_begin(request.step_begin);
  wire->set_step_end(request.step_end);
  wire->set_global_batch(request.global_batch);
  if (request.positions.empty()) {
    wire->set_rank(request.slice.rank);
    wire->set_num_ranks(request.slice.num_ranks);
  }  // else no ranks: a server that does not know positions refuses that
  ToWire(request.selection, wire->mutable_selection());
  wire->set_credit_bytes(request.credit_bytes);
  for (const PositionRange& range : request.positions) {
    v1::PositionRange* const one = wire->add_positions();
    one->set_begin(range.begin);
    one->set_end(range.end);
  }
}

absl::StatusOr<EpochRequest> FromWire(const v1::EpochRequest& wire) {
  EpochRequest request;
  AFTERIMAGE_ASSIGN_OR_RETURN(request.set_id, DigestFromWire("set_id", wire.set_id()));
  absl::StatusOr<Json> order = ParseCanonical(wire.order());
  if (!order.ok()) return WithContext(order.status(), "order");
  absl::StatusOr<OrderSpec> spec = OrderSpec::FromCanonical(*order);
  if (!spec.ok()) return WithContext(spec.status(), "order");
  request.order = *std::move(spec);
  request.epoch = wire.epoch();
  request.step_begin = wire.step_begin();
  request.step_end = wire.step_end();
  request.global_batch = wire.global_batch();
  if (wire.positions_size() == 0) {
    request.slice = {wire.rank(), wire.num_ranks()};
  } else if (wire.rank() != 0 || wire.num_ranks() != 0) {
    return absl::InvalidArgumentError(absl::StrCat("explicit positions and the slice of rank ", wire.rank(),
                                                   " of ", wire.num_ranks(), ": give one of the two"));
  }
  request.positions.reserve(wire.positions_size());
  for (const v1::PositionRange& range : wire.positions())
    request.positions.push_back({range.begin(), range.end()});
  AFTERIMAGE_ASSIGN_OR_RETURN(request.selection, FromWire(wire.selection()));
  request.credit_bytes = wire.credit_bytes();
  return request;
}

void ToWire(const SharedMemoryName& name, v1::SharedRegion* wire) {
  wire->set_pid(name.pid);
  wire->set_file_descriptor(name.descriptor);
  wire->set_bytes(name.bytes);
  wire->set_nonce(name.nonce.data(), name.nonce.size());
}

absl::StatusOr<SharedMemoryName> FromWire(const v1::SharedRegion& wire) {
  SharedMemoryName name{wire.pid(), wire.file_descriptor(), wire.bytes()};
  if (wire.nonce().size() != name.nonce.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("region.nonce has ", wire.nonce().size(), " bytes, expected ", name.nonce.size()));
  }
  std::copy(wire.nonce().begin(), wire.nonce().end(), name.nonce.begin());
  return name;
}

int64_t ExpiryToWire(absl::Time expires) { return absl::ToInt64Microseconds(expires - absl::Now()); }
absl::Time ExpiryFromWire(int64_t expires_in_us) { return absl::Now() + absl::Microseconds(expires_in_us); }

void ToWire(const UnitLease& lease, v1::Lease* wire) {
  v1::Unit* unit = wire->mutable_unit();
  unit->set_manifest(DigestToWire(lease.unit.manifest));
  unit->set_shard(lease.unit.shard);
  unit->set_seed_begin(lease.unit.seed_begin);
  unit->set_seed_end(lease.unit.seed_end);
  wire->set_worker(lease.worker);
  wire->set_token(lease.token);
  wire->set_expires_in_us(ExpiryToWire(lease.expires));
}

absl::StatusOr<UnitLease> FromWire(const v1::Lease& wire) {
  UnitLease lease;
  AFTERIMAGE_ASSIGN_OR_RETURN(lease.unit.manifest,
                              DigestFromWire("lease.unit.manifest", wire.unit().manifest()));
  lease.unit.shard = wire.unit().shard();
  lease.unit.seed_begin = wire.unit().seed_begin();
  lease.unit.seed_end = wire.unit().seed_end();
  lease.worker = wire.worker();
  lease.token = wire.token();
  lease.expires = ExpiryFromWire(wire.expires_in_us());
  return lease;
}

void ToWire(const ClaimResult& result, v1::ClaimResponse* wire) {
  for (const ClaimedUnit& unit : result.units) {
    v1::ClaimedUnit* claimed = wire->add_units();
    ToWire(unit.lease, claimed->mutable_lease());
    claimed->mutable_wanted()->Reserve(static_cast<int>(unit.wanted.size()));
    for (const RecordKey& key : unit.wanted) ToWire(key, claimed->add_wanted());
  }
  wire->set_all_complete(result.all_complete);
  wire->set_leased_by_others(result.leased_by_others);
}

absl::StatusOr<ClaimResult> FromWire(const v1::ClaimResponse& wire) {
  ClaimResult result;
  for (const v1::ClaimedUnit& unit : wire.units()) {
    ClaimedUnit claimed;
    AFTERIMAGE_ASSIGN_OR_RETURN(claimed.lease, FromWire(unit.lease()));
    claimed.wanted.reserve(unit.wanted().size());
    for (const v1::RecordKey& key : unit.wanted()) {
      AFTERIMAGE_ASSIGN_OR_RETURN(RecordKey wanted, FromWire(key));
      claimed.wanted.push_back(wanted);
    }
    result.units.push_back(std::move(claimed));
  }
  result.all_complete = wire.all_complete();
  result.leased_by_others = wire.leased_by_others();
  return result;
}

void ToWire(const LedgerProgress& progress, v1::ProgressResponse* wire) {
  wire->set_units_total(progress.units_total);
  wire->set_units_complete(progress.units_complete);
  wire->set_units_leased(progress.units_leased);
  wire->set_records_total(progress.records_total);
  wire->set_records_present(progress.records_present);
  wire->set_records_failed(progress.records_failed);
  for (const bool complete : progress.seed_complete) wire->add_seed_complete(complete);
}

LedgerProgress FromWire(const v1::ProgressResponse& wire) {
  LedgerProgress progress;
  progress.units_total = wire.units_total();
  progress.units_complete = wire.units_complete();
  progress.units_leased = wire.units_leased();
  progress.records_total = wire.records_total();
  progress.records_present = wire.records_present();
  progress.records_failed = wire.records_failed();
  progress.seed_complete.assign(wire.seed_complete().begin(), wire.seed_complete().end());
  return progress;
}

void ToWire(const PublishReport& report, v1::PublishReport* wire) {
  wire->set_records_written(report.records_written);
  wire->set_bytes_written(report.bytes_written);
  wire->set_duplicates_equal(report.duplicates_equal);
  wire->set_duplicates_different(report.duplicates_different);
}

PublishReport FromWire(const v1::PublishReport& wire) {
  return {wire.records_written(), wire.bytes_written(), wire.duplicates_equal(), wire.duplicates_different()};
}

std::string MaskToWire(const MaskSpec& mask) { return TextOf(mask.ToCanonical()); }

absl::StatusOr<MaskSpec> MaskFromWire(const std::string& text) {
  absl::StatusOr<Json> json = ParseCanonical(text);
  if (!json.ok()) return WithContext(json.status(), "mask_spec");
  return MaskSpec::FromCanonical(*json);
}

}  // namespace afterimage
