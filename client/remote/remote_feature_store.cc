#include "client/remote/remote_feature_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "afterimage/v1/records.grpc.pb.h"
#include "client/remote/remote_call.h"
#include "core/base/status_macros.h"
#include "proto/wire/convert.h"

namespace afterimage {

struct RemoteFeatureStore::Stub {
  std::unique_ptr<v1::Records::Stub> records;
};

RemoteFeatureStore::RemoteFeatureStore(std::shared_ptr<Connection> connection, const Digest256& set_id,
                                       SetDescription description,
                                       std::shared_ptr<const FeatureProfile> profile)
    : connection_(std::move(connection)),
      set_id_(set_id),
      description_(std::move(description)),
      profile_(std::move(profile)),
      stub_(new Stub{v1::Records::NewStub(connection_->channel())}) {}

RemoteFeatureStore::~RemoteFeatureStore() = default;

absl::Status RemoteFeatureStore::Read(std::span<const RecordKey> keys, const Selection& selection,
                                      const MaskChoice& mask, const RecordSink& sink) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateSelection(description_, selection));
  const size_t keys_per_call = std::max<size_t>(connection_->limits().max_keys_per_call, 1);
  size_t begin = 0;
  bool refused = false;
  while (begin < keys.size()) {
    const size_t end = std::min(keys.size(), begin + keys_per_call);
    AFTERIMAGE_RETURN_IF_ERROR(RetryWhileUnavailable(*connection_, [&] {
      return begin == end ? absl::OkStatus() : ReadOnce(keys, begin, end, selection, mask, sink, refused);
    }));
    if (refused) return absl::CancelledError("the reader wanted no more records");
  }
  return absl::OkStatus();
}

absl::Status RemoteFeatureStore::ReadOnce(std::span<const RecordKey> keys, size_t& begin, size_t end,
                                          const Selection& selection, const MaskChoice& mask,
                                          const RecordSink& sink, bool& refused) {
  v1::ReadRecordsRequest request;
  request.set_set_id(DigestToWire(set_id_));
  for (size_t i = begin; i < end; ++i) ToWire(keys[i], request.add_keys());
  ToWire(selection, request.mutable_selection());
  request.set_mask_spec(MaskToWire(mask.spec));
  request.set_mask_index(mask.mask_index);

  grpc::ClientContext
      context;  // without a deadline: the sink may take its time, and a dead server is noticed by keepalive
  connection_->Prepare(context);
  auto reader = stub_->records->ReadRecords(&context, request);
  const size_t offset = begin;
  absl::Status bad;
  const auto read = [&](v1::ReadRecordsResponse& response) {
    const WaitTeller::Wait wait = connection_->WaitFor("records");
    return reader->Read(&response);
  };
  for (v1::ReadRecordsResponse response; bad.ok() && !refused && read(response);) {
    for (v1::Record& record : *response.mutable_records()) {
      absl::StatusOr<RecordState> state = FromWire(record.state());
      if (!state.ok() || offset + record.index() != begin || begin == end) {
        bad = absl::InternalError(
            absl::StrCat("the server at ", connection_->address(), " sent a record out of turn"));
        break;
      }
      RecordResult result{*state, {}, std::move(*record.mutable_reason())};
      if (*state == RecordState::kOk)
        result.block = PinnedBytes::FromString(std::move(*record.mutable_block()));
      if (!sink(begin++, std::move(result))) {
        refused = true;
        break;
      }
    }
  }
  if (!bad.ok() || refused) context.TryCancel();
  const absl::Status ended = StatusOfCall(*connection_, reader->Finish());
  if (!bad.ok()) return bad;
  if (refused) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(ended);
  if (begin == end) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the server at ", connection_->address(), " sent ", begin - offset,
                                          " records for ", end - offset, " keys"));
}

}  // namespace afterimage
