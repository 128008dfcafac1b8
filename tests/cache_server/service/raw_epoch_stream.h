// A client's end of ReadEpoch, message by message.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "afterimage/v1/epochs.grpc.pb.h"
#include "core/order/epoch_source.h"
#include "proto/wire/convert.h"
#include "tests/cache_server/service/raw_client.h"

namespace afterimage::testing {

// A client that keeps to nothing but the protocol, and not always to that.
class RawStream {
 public:
  explicit RawStream(const ServedCache& cache)
      : client_(cache), stream_(client_.epochs->ReadEpoch(&context_)) {}
  ~RawStream() { context_.TryCancel(); }

  void Ask(const EpochRequest& request, bool shared_memory) {
    v1::ReadEpochRequest first;
    ToWire(request, first.mutable_request());
    first.mutable_request()->set_shared_memory(shared_memory);
    stream_->Write(first);
  }
  v1::ReadEpochResponse Next() {
    v1::ReadEpochResponse response;
    stream_->Read(&response);
    return response;
  }
  void SayMapped() {
    v1::ReadEpochRequest message;
    message.mutable_region_mapped();
    stream_->Write(message);
  }
  void GiveBack(uint64_t credit, const std::vector<uint64_t>& places = {}) {
    v1::ReadEpochRequest message;
    message.set_credit_bytes(credit);
    message.mutable_released_places()->Add(places.begin(), places.end());
    stream_->Write(message);
  }
  // The end, whatever frames come before it.
  absl::Status End() {
    for (v1::ReadEpochResponse response; stream_->Read(&response);) {
      if (!response.has_end()) continue;
      stream_->WritesDone();
      return absl::Status(static_cast<absl::StatusCode>(response.end().code()), response.end().message());
    }
    return StatusOf(stream_->Finish());
  }

 private:
  RawClient client_;
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1::ReadEpochRequest, v1::ReadEpochResponse>> stream_;
};

}  // namespace afterimage::testing
