#include "cache_server/service/cache_server.h"

#include <grpcpp/client_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "tests/cache_server/service/raw_client.h"
#include "tests/cache_server/service/served_cache.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::RawClient;
using testing::ServedCache;
using testing::StatusIs;
using testing::StatusOf;
using testing::TemporaryFolder;

TEST(CacheServerTest, APortInUseIsSaidClearly) {
  ServedCache first;
  CacheServer::Options options;
  options.listen = "127.0.0.1:" + std::to_string(first.server().port());
  EXPECT_THAT(CacheServer::Start(&first.catalog(), &first.local_source(), options),
              StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr("cannot listen on " + options.listen),
                                                             HasSubstr("in use"), HasSubstr("--listen"))));
}

TEST(CacheServerTest, ASocketFileInUseIsNotTakenOverAndAStaleOneIs) {
  const TemporaryFolder folder;
  CacheServer::Options options;
  options.listen = "unix:" + (folder / "socket").string();
  {
    ServedCache first(options);
    EXPECT_EQ(first.address(), options.listen);
    EXPECT_THAT(CacheServer::Start(&first.catalog(), &first.local_source(), options),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("another server answers there")));
    EXPECT_NE(first.Connect(), nullptr);
  }
  ServedCache second(options);
  EXPECT_NE(second.Connect(), nullptr);
}

TEST(CacheServerTest, RefusesWhatIsNoAddress) {
  ServedCache cache;
  for (const char* listen :
       {"", "localhost", "127.0.0.1:", "127.0.0.1:70000", ":4747", "unix:relative", "http://x:1"}) {
    CacheServer::Options options;
    options.listen = listen;
    EXPECT_THAT(CacheServer::Start(&cache.catalog(), &cache.local_source(), options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("listen address")))
        << listen;
  }
}

// One message there, one back, as bytes: for services whose generated code is not installed.
std::string CallRaw(const RawClient& client, const char* method, grpc::internal::RpcMethod::RpcType type,
                    const std::string& request) {
  grpc::ClientContext context;
  const grpc::internal::RpcMethod rpc(method, type, client.channel);
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          client.channel.get(), rpc, &context));
  const grpc::Slice slice(request);
  stream->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions());
  grpc::ByteBuffer response;
  std::string bytes;
  if (stream->Read(&response)) {
    grpc::Slice joined;
    EXPECT_TRUE(response.DumpToSingleSlice(&joined).ok());
    bytes.assign(reinterpret_cast<const char*>(joined.begin()), joined.size());
  }
  EXPECT_THAT(StatusOf(stream->Finish()), IsOk());
  return bytes;
}

// HealthCheckRequest{service}: field 1.
std::string Health(const RawClient& client, const std::string& service = "") {
  const std::string request =
      service.empty() ? "" : "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
  return CallRaw(client, "/grpc.health.v1.Health/Check", grpc::internal::RpcMethod::NORMAL_RPC, request);
}
constexpr char kServing[] = "\x08\x01";  // HealthCheckResponse{status: SERVING}
constexpr char kNotServing[] = "\x08\x02";

TEST(CacheServerTest, AnswersHealthChecksAndReflection) {
  ServedCache cache;
  RawClient client(cache);
  EXPECT_EQ(Health(client), kServing);
  // ServerReflectionRequest{list_services: "*"}: field 7.
  const std::string services =
      CallRaw(client, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
              grpc::internal::RpcMethod::BIDI_STREAMING, "\x3a\x01*");
  for (const char* name :
       {"afterimage.v1.Catalog", "afterimage.v1.Records", "afterimage.v1.Epochs", "afterimage.v1.Units"}) {
    EXPECT_THAT(services, HasSubstr(name));
  }
}

TEST(CacheServerTest, EachSetHasAHealthOfItsOwn) {
  CacheServer::Options options;
  options.watch_interval = absl::Milliseconds(20);
  ServedCache cache(options);
  RawClient client(cache);
  const EpochRequest request = cache.Fill(4);
  ASSERT_THAT(cache.catalog().SetName("mine", request.set_id, false), IsOk());
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(Health(client, request.set_id.Hex()), kServing);
  EXPECT_EQ(Health(client, "mine"), kServing);
}

TEST(CacheServerTest, TellsVersionsAndLimits) {
  CacheServer::Options options;
  options.limits.max_keys_per_call = 77;
  ServedCache cache(options);
  RawClient client(cache);
  grpc::ClientContext context;
  v1::Capabilities capabilities;
  ASSERT_TRUE(client.catalog->GetCapabilities(&context, {}, &capabilities).ok());
  EXPECT_EQ(capabilities.protocol_version(), 1);
  EXPECT_EQ(capabilities.feature_block_version(), kFeatureBlockVersion);
  EXPECT_EQ(capabilities.limits().max_keys_per_call(), 77);
  EXPECT_GT(capabilities.limits().max_message_bytes(), 0);
  EXPECT_GE(capabilities.limits().max_credit_bytes(), EpochRequest().credit_bytes);
}

TEST(CacheServerTest, ADrainLetsAStreamFinish) {
  ServedCache cache;
  EpochRequest epoch = cache.Fill(256);
  epoch.credit_bytes = 64 << 10;
  RemoteEpochSource source(cache.Connect());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, source.Open(epoch));
  std::thread drain([&] { cache.server().Drain(absl::Seconds(20)); });
  EXPECT_TRUE(Eventually([&] { return !source.Open(epoch).ok(); }));
  EXPECT_EQ(Health(RawClient(cache)), kNotServing);
  uint64_t num_frames = 0;
  while (true) {
    const absl::StatusOr<std::optional<EpochFrame>> frame = stream->Next();
    ASSERT_THAT(frame, IsOk());
    if (!frame->has_value()) break;
    ++num_frames;
    stream->ReturnCredit((*frame)->CostBytes());
  }
  EXPECT_EQ(num_frames, 256);
  drain.join();
}

TEST(CacheServerTest, ADrainEndsAStreamThatDoesNotFinish) {
  ServedCache cache;
  EpochRequest epoch = cache.Fill(256);
  epoch.credit_bytes = 64 << 10;
  RemoteEpochSource source(cache.Connect());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, source.Open(epoch));
  const auto start = std::chrono::steady_clock::now();
  cache.server().Drain(absl::Milliseconds(50));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  absl::StatusOr<std::optional<EpochFrame>> frame = stream->Next();
  while (frame.ok() && frame->has_value()) frame = stream->Next();
  EXPECT_THAT(frame, StatusIs(absl::StatusCode::kUnavailable,
                              AllOf(HasSubstr("the server is stopping"), HasSubstr(cache.address()))));
}

}  // namespace
}  // namespace afterimage
