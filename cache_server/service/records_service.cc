#include "cache_server/service/records_service.h"

#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/support/method_handler.h>

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "afterimage/v1/records.grpc.pb.h"  // also how gRPC parses a protobuf message
#include "cache_server/service/message_builder.h"
#include "core/base/status_macros.h"
#include "proto/wire/convert.h"

namespace afterimage {
namespace {

// Enough that a message's own cost does not matter, little enough that a stream holds little.
constexpr size_t kMessageBytes = 256 << 10;
// Room for the header fields beside a block.
constexpr size_t kHeaderBytes = 4 << 10;

}  // namespace

RecordsService::RecordsService(OpenSets* sets, StreamGate* gate, TransferWatch* transfers, CallRunner* calls,
                               const ServiceLimits& limits)
    : sets_(sets), gate_(gate), transfers_(transfers), calls_(calls), limits_(limits) {
  AddMethod(new grpc::internal::RpcServiceMethod(
      "/afterimage.v1.Records/ReadRecords", grpc::internal::RpcMethod::SERVER_STREAMING,
      new grpc::internal::ServerStreamingHandler<RecordsService, v1::ReadRecordsRequest, grpc::ByteBuffer>(
          [](RecordsService* service, grpc::ServerContext* context, const v1::ReadRecordsRequest* request,
             grpc::ServerWriter<grpc::ByteBuffer>* writer) {
            return service->ReadRecords(context, request, writer);
          },
          this)));
}

grpc::Status RecordsService::ReadRecords(grpc::ServerContext* context, const v1::ReadRecordsRequest* request,
                                         grpc::ServerWriter<grpc::ByteBuffer>* writer) {
  return calls_->RunBulk(*context, "ReadRecords", Access::kRead,
                         [&](BulkCounts& counts) { return Read(*request, context, counts, writer); });
}

absl::Status RecordsService::Read(const v1::ReadRecordsRequest& request, grpc::ServerContext* context,
                                  BulkCounts& counts, grpc::ServerWriter<grpc::ByteBuffer>* writer) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 set_id, DigestFromWire("set_id", request.set_id()));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Selection selection, FromWire(request.selection()));
  MaskChoice mask;
  if (!request.mask_spec().empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(mask.spec, MaskFromWire(request.mask_spec()));
  }
  mask.mask_index = request.mask_index();
  if (request.keys_size() > static_cast<int64_t>(limits_.max_keys_per_call)) {
    return absl::InvalidArgumentError(absl::StrCat(request.keys_size(),
                                                   " keys in one call; max_keys_per_call is ",
                                                   limits_.max_keys_per_call, ": split the call"));
  }
  std::vector<RecordKey> keys;
  keys.reserve(request.keys_size());
  for (const v1::RecordKey& wire : request.keys()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(RecordKey key, FromWire(wire));
    keys.push_back(key);
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set, sets_->Get(set_id, OpenMode::kRead));
  // Declared before the pass, whose callback refers to it.
  std::atomic<bool> stop{false};
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<StreamGate::Pass> pass, gate_->Enter());
  pass->OnStop([&stop] { stop = true; });
  AFTERIMAGE_RETURN_IF_ERROR(set.store->Refresh());

  TransferWatch::Guard alive(transfers_, context);
  MessageBuilder message(v1::ReadRecordsResponse::kRecordsFieldNumber, v1::Record::kBlockFieldNumber);
  absl::Status ended;  // why the sink has ended the read
  const auto flush = [&] {
    if (writer->Write(message.Take())) {
      alive.Alive();
      return true;
    }
    ended = alive.Check();
    if (ended.ok()) ended = absl::CancelledError("the client has gone");
    return false;
  };
  const absl::Status read = set.store->Read(keys, selection, mask, [&](size_t index, RecordResult result) {
    if (stop || context->IsCancelled()) {
      ended = alive.Check();
      if (ended.ok()) ended = stop ? StoppingStatus() : absl::CancelledError("the client has gone");
      return false;
    }
    if (result.block.bytes.size() + kHeaderBytes > limits_.max_message_bytes) {
      ended = absl::InvalidArgumentError(absl::StrCat(
          "record ", keys[index].ToString(), " has ", result.block.bytes.size(),
          " bytes, max_message_bytes is ", limits_.max_message_bytes, ": ask for fewer levels, or in f16"));
      return false;
    }
    // Never above the limit, and the block that is waiting is not held back by a large one behind it.
    if (!message.empty() && message.bytes() + result.block.bytes.size() > 2 * kMessageBytes && !flush())
      return false;
    v1::Record header;
    header.set_index(static_cast<uint32_t>(index));
    header.set_state(ToWire(result.state));
    header.set_reason(std::move(result.reason));
    message.Add(header, result.block);
    counts.Sent(1, result.block.bytes.size(), result.state != RecordState::kOk);
    return message.bytes() < kMessageBytes || flush();
  });
  if (!ended.ok()) return ended;
  AFTERIMAGE_RETURN_IF_ERROR(read);
  if (!message.empty() && !flush()) return ended;
  return absl::OkStatus();
}

}  // namespace afterimage
