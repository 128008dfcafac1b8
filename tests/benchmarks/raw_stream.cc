#include "tests/benchmarks/raw_stream.h"

#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/method_handler.h>
#include <grpcpp/support/sync_stream.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/allocator.h"
#include "tests/benchmarks/support.h"

namespace afterimage::benchmarks {
namespace {

constexpr char kMethod[] = "/afterimage.benchmark/Raw";
constexpr int kLookaheadBytes = 8 << 20;  // as server and client of the product have it

struct Blocks {
  char* data = nullptr;
  uint64_t block_bytes = 0;
  std::vector<uint32_t> order;
};

Blocks MapBlocks(const std::string& block_file, const std::string& order_file, uint64_t block_bytes) {
  Blocks blocks{.block_bytes = block_bytes};
  std::ifstream order(order_file, std::ios::binary);
  for (uint32_t index = 0; order.read(reinterpret_cast<char*>(&index), sizeof(index));)
    blocks.order.push_back(index);
  const int fd = open(block_file.c_str(), O_RDONLY);
  void* map = mmap(nullptr, block_bytes * blocks.order.size(), PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (fd < 0 || map == MAP_FAILED) Require(absl::NotFoundError("cannot map " + block_file));
  blocks.data = static_cast<char*>(map);
  return blocks;
}

class RawService final : public grpc::Service {
 public:
  explicit RawService(Blocks blocks) : blocks_(std::move(blocks)) {
    AddMethod(new grpc::internal::RpcServiceMethod(
        kMethod, grpc::internal::RpcMethod::BIDI_STREAMING,
        new grpc::internal::BidiStreamingHandler<RawService, grpc::ByteBuffer, grpc::ByteBuffer>(
            [](RawService* service, grpc::ServerContext*,
               grpc::ServerReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>* stream) {
              return service->Send(stream);
            },
            this)));
  }

 private:
  // The request: two uint64, the order and the number of messages.
  grpc::Status Send(grpc::ServerReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>* stream) {
    grpc::ByteBuffer request;
    grpc::Slice slice;
    uint64_t wanted[2];
    if (!stream->Read(&request) || !request.DumpToSingleSlice(&slice).ok() || slice.size() != sizeof(wanted))
      return {grpc::StatusCode::INVALID_ARGUMENT, "not a request"};
    std::memcpy(wanted, slice.begin(), sizeof(wanted));
    for (uint64_t i = 0; i < wanted[1]; ++i) {
      const uint64_t index = wanted[0] == static_cast<uint64_t>(RawOrder::kShuffled)
                                 ? blocks_.order[i % blocks_.order.size()]
                                 : 0;
      const grpc::Slice block(blocks_.data + index * blocks_.block_bytes, blocks_.block_bytes,
                              grpc::Slice::STATIC_SLICE);
      if (!stream->Write(grpc::ByteBuffer(&block, 1))) break;
    }
    return grpc::Status::OK;
  }

  const Blocks blocks_;
};

}  // namespace

void ServeRawStream(const std::string& block_file, const std::string& order_file, uint64_t block_bytes,
                    const std::string& socket) {
  KeepFreedMemory();
  RawService service(MapBlocks(block_file, order_file, block_bytes));
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) Require(absl::UnavailableError("no port"));
  std::printf("ready %d\n", port);
  std::fflush(stdout);
  while (true) pause();
}

std::shared_ptr<grpc::Channel> OpenRawChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

uint64_t ReadRawInto(const std::shared_ptr<grpc::Channel>& channel, RawOrder order, uint64_t num_messages,
                     BatchTensor& tensor) {
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method(kMethod, grpc::internal::RpcMethod::BIDI_STREAMING, channel);
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(), method, &context));
  const uint64_t wanted[2] = {static_cast<uint64_t>(order), num_messages};
  const grpc::Slice request(wanted, sizeof(wanted));
  stream->Write(grpc::ByteBuffer(&request, 1));
  stream->WritesDone();
  uint64_t bytes = 0;
  uint64_t sample = 0;
  std::vector<grpc::Slice> slices;
  for (grpc::ByteBuffer message; stream->Read(&message); ++sample) {
    slices.clear();
    if (!message.Dump(&slices).ok()) Require(absl::InternalError("a message has no slices"));
    uint8_t* target = tensor.Sample(sample);
    for (const grpc::Slice& slice : slices) {
      std::memcpy(target, slice.begin(), slice.size());
      target += slice.size();
      bytes += slice.size();
    }
  }
  if (const grpc::Status status = stream->Finish(); !status.ok())
    Require(absl::InternalError(status.error_message()));
  return bytes;
}

}  // namespace afterimage::benchmarks
