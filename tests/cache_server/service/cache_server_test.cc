#include "cache_server/service/cache_server.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "afterimage/v1/catalog.grpc.pb.h"
#include "afterimage/v1/epochs.grpc.pb.h"
#include "afterimage/v1/records.grpc.pb.h"
#include "afterimage/v1/units.grpc.pb.h"
#include "gmock/gmock.h"
#include "proto/wire/convert.h"
#include "proto/wire/grpc_status.h"
#include "tests/cache_server/service/served_cache.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::ServedCache;
using testing::StatusIs;
using testing::SyntheticOptions;
using testing::TemporaryFolder;

// True once `condition` holds; gives up after some seconds.
template <typename Condition>
bool Eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// A client that keeps to nothing but the protocol.
struct RawClient {
  explicit RawClient(const ServedCache& cache)
      : channel(grpc::CreateChannel("127.0.0.1:" + cache.address().substr(cache.address().rfind(':') + 1),
                                    grpc::InsecureChannelCredentials())) {}
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Catalog::Stub> catalog = v1::Catalog::NewStub(channel);
  std::unique_ptr<v1::Records::Stub> records = v1::Records::NewStub(channel);
  std::unique_ptr<v1::Epochs::Stub> epochs = v1::Epochs::NewStub(channel);
  std::unique_ptr<v1::Units::Stub> units = v1::Units::NewStub(channel);
};

absl::Status StatusOf(const grpc::Status& status) { return FromGrpcStatus(status, "test"); }

absl::Status ReadRecords(RawClient& client, const v1::ReadRecordsRequest& request) {
  grpc::ClientContext context;
  auto reader = client.records->ReadRecords(&context, request);
  v1::ReadRecordsResponse response;
  while (reader->Read(&response)) {
  }
  return StatusOf(reader->Finish());
}

absl::Status ReadEpoch(RawClient& client, const v1::ReadEpochRequest& first) {
  grpc::ClientContext context;
  auto stream = client.epochs->ReadEpoch(&context);
  stream->Write(first);
  stream->WritesDone();
  v1::ReadEpochResponse response;
  while (stream->Read(&response)) {
  }
  return StatusOf(stream->Finish());
}

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

TEST(CacheServerTest, MalformedReadsAreRefusedWithTheReason) {
  CacheServer::Options options;
  options.limits.max_keys_per_call = 3;
  ServedCache cache(options);
  const EpochRequest epoch = cache.Fill(4);
  RawClient client(cache);
  v1::ReadRecordsRequest request;
  EXPECT_THAT(ReadRecords(client, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("set_id: 32 bytes")));
  request.set_set_id(std::string(32, 'x'));
  EXPECT_THAT(ReadRecords(client, request), StatusIs(absl::StatusCode::kNotFound));
  request.set_set_id(DigestToWire(epoch.set_id));
  request.add_keys()->set_image("short");
  EXPECT_THAT(ReadRecords(client, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("image: 16 bytes")));
  request.clear_keys();
  for (int i = 0; i < 4; ++i) ToWire(RecordKey{testing::SyntheticImageKey(i), 0}, request.add_keys());
  EXPECT_THAT(ReadRecords(client, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_keys_per_call is 3")));
  request.mutable_keys()->RemoveLast();
  EXPECT_THAT(ReadRecords(client, request), IsOk());
  request.mutable_selection()->set_encoding(static_cast<v1::Selection::Encoding>(99));
  EXPECT_THAT(ReadRecords(client, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("unknown value 99")));
  request.mutable_selection()->set_encoding(v1::Selection::ENCODING_STORED);
  request.mutable_selection()->add_levels(9);
  EXPECT_THAT(ReadRecords(client, request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("9")));
}

TEST(CacheServerTest, ARecordAboveTheMessageLimitNamesKeyAndLimit) {
  CacheServer::Options options;
  options.limits.max_message_bytes = 5000;
  ServedCache cache(options);
  const EpochRequest epoch = cache.Fill(2);
  RawClient client(cache);
  v1::ReadRecordsRequest request;
  request.set_set_id(DigestToWire(epoch.set_id));
  const RecordKey key{testing::SyntheticImageKey(1), 0};
  ToWire(key, request.add_keys());
  EXPECT_THAT(ReadRecords(client, request),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(key.ToString()), HasSubstr("max_message_bytes is 5000"))));
  v1::ReadEpochRequest first;
  ToWire(epoch, first.mutable_request());
  first.mutable_request()->set_global_batch(1);
  EXPECT_THAT(ReadEpoch(client, first),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_message_bytes is 5000")));
}

TEST(CacheServerTest, MalformedEpochRequestsAreRefusedWithTheReason) {
  ServedCache cache;
  const EpochRequest epoch = cache.Fill(16);
  RawClient client(cache);
  v1::ReadEpochRequest first;
  EXPECT_THAT(ReadEpoch(client, first),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("first message must be the request")));
  first.set_credit_bytes(1);
  EXPECT_THAT(ReadEpoch(client, first),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("first message must be the request")));
  ToWire(epoch, first.mutable_request());
  EXPECT_THAT(ReadEpoch(client, first), IsOk());
  first.mutable_request()->set_credit_bytes(3);
  EXPECT_THAT(ReadEpoch(client, first),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("credit_bytes is 3")));
  ToWire(epoch, first.mutable_request());
  first.mutable_request()->set_order("{\"no\":\"order\"}");
  EXPECT_THAT(ReadEpoch(client, first), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("order")));
  ToWire(epoch, first.mutable_request());
  first.mutable_request()->set_rank(5);
  EXPECT_THAT(ReadEpoch(client, first), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 5")));
}

TEST(CacheServerTest, AfterTheRequestOnlyCreditMayBeSent) {
  ServedCache cache;
  EpochRequest epoch = cache.Fill(64);
  epoch.credit_bytes = 16 << 10;  // so that the stream is still under way
  RawClient client(cache);
  grpc::ClientContext context;
  auto stream = client.epochs->ReadEpoch(&context);
  v1::ReadEpochRequest first;
  ToWire(epoch, first.mutable_request());
  stream->Write(first);
  stream->Write(first);
  v1::ReadEpochResponse response;
  v1::EpochEnd end;
  while (stream->Read(&response)) {
    if (response.has_end()) {
      end = response.end();
      stream->WritesDone();
    }
  }
  EXPECT_EQ(end.code(), static_cast<uint32_t>(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(StatusOf(stream->Finish()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("only credit")));
}

TEST(CacheServerTest, AStalledReaderGetsNoMoreThanItsCredit) {
  ServedCache cache;
  EpochRequest epoch = cache.Fill(256);
  epoch.credit_bytes = 64 << 10;
  RawClient client(cache);
  grpc::ClientContext context;
  auto stream = client.epochs->ReadEpoch(&context);
  v1::ReadEpochRequest first;
  ToWire(epoch, first.mutable_request());
  stream->Write(first);
  // Reads without giving anything back: what the server ever takes from the store is the credit and one
  // frame.
  uint64_t received_bytes = 0;
  uint64_t largest_bytes = 0;
  uint64_t num_frames = 0;
  v1::ReadEpochResponse response;
  while (received_bytes < epoch.credit_bytes && stream->Read(&response)) {
    for (const v1::EpochFrame& frame : response.frames()) {
      const uint64_t cost = frame.block().size() + 256;
      received_bytes += cost;
      largest_bytes = std::max(largest_bytes, cost);
      ++num_frames;
    }
  }
  EXPECT_LT(received_bytes, epoch.credit_bytes + largest_bytes);
  EXPECT_LT(num_frames, 256);
  // Giving one frame back brings one frame more.
  absl::SleepFor(absl::Milliseconds(100));
  v1::ReadEpochRequest credit;
  credit.set_credit_bytes(largest_bytes);
  stream->Write(credit);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.frames_size(), 1);
  EXPECT_EQ(response.frames(0).position(), num_frames);
  // Meanwhile the server had nothing to send, and says why.
  EXPECT_GE(response.idle().credit_us(), 1'000);
  context.TryCancel();
}

TEST(CacheServerTest, AClientThatVanishesFreesItsStreams) {
  ServedCache cache;
  EpochRequest epoch = cache.Fill(256);
  epoch.credit_bytes = 64 << 10;
  {
    RawClient client(cache);
    grpc::ClientContext contexts[3];
    std::unique_ptr<grpc::ClientReaderWriter<v1::ReadEpochRequest, v1::ReadEpochResponse>> streams[3];
    for (int i = 0; i < 3; ++i) {
      streams[i] = client.epochs->ReadEpoch(&contexts[i]);
      v1::ReadEpochRequest first;
      ToWire(epoch, first.mutable_request());
      streams[i]->Write(first);
      v1::ReadEpochResponse response;
      ASSERT_TRUE(streams[i]->Read(&response));
    }
    EXPECT_EQ(cache.server().num_streams(), 3);
    for (int i = 0; i < 3; ++i) {
      contexts[i].TryCancel();
      EXPECT_FALSE(streams[i]->Finish().ok());
    }
  }
  EXPECT_TRUE(Eventually([&] { return cache.server().num_streams() == 0; }));
}

TEST(CacheServerTest, OneStreamTooManyIsToldToTryAgain) {
  CacheServer::Options options;
  options.limits.max_streams = 1;
  ServedCache cache(options);
  EpochRequest epoch = cache.Fill(256);
  epoch.credit_bytes = 64 << 10;
  RemoteEpochSource source(cache.Connect());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, source.Open(epoch));
  EXPECT_THAT(source.Open(epoch), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("all 1 streams")));
  stream.reset();
  EXPECT_TRUE(Eventually([&] { return source.Open(epoch).ok(); }));
}

TEST(CacheServerTest, OneStreamTooManyOfAPeerIsRefusedByTheLimitThatWasAdvertised) {
  CacheServer::Options options;
  options.limits.max_streams_per_peer = 1;
  options.limits.max_calls_per_peer = 7;
  ServedCache cache(options);
  EpochRequest epoch = cache.Fill(256);
  epoch.credit_bytes = 64 << 10;
  RawClient client(cache);
  {
    grpc::ClientContext context;
    v1::Capabilities capabilities;
    ASSERT_TRUE(client.catalog->GetCapabilities(&context, {}, &capabilities).ok());
    EXPECT_EQ(capabilities.limits().max_streams_per_peer(), 1);
    EXPECT_EQ(capabilities.limits().max_calls_per_peer(), 7);
  }
  RemoteEpochSource source(cache.Connect());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, source.Open(epoch));
  {
    grpc::ClientContext context;
    const auto second = client.epochs->ReadEpoch(&context);
    v1::ReadEpochRequest first;
    ToWire(epoch, first.mutable_request());
    second->Write(first);
    v1::ReadEpochResponse response;
    EXPECT_FALSE(second->Read(&response));
    const grpc::Status status = second->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_THAT(status.error_message(),
                AllOf(HasSubstr("ipv4:127.0.0.1 has 1 streams"), HasSubstr("max_streams_per_peer is 1")));
  }
  EXPECT_THAT(source.Open(epoch),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("max_streams_per_peer is 1")));
  stream.reset();
  EXPECT_TRUE(Eventually([&] { return source.Open(epoch).ok(); }));
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

TEST(CacheServerTest, PublishingOutOfTurnIsRefused) {
  ServedCache cache;
  RawClient client(cache);
  const auto publish = [&](const std::vector<v1::PublishUnitRequest>& messages) {
    grpc::ClientContext context;
    v1::PublishReport report;
    auto writer = client.units->PublishUnit(&context, &report);
    for (const v1::PublishUnitRequest& message : messages) writer->Write(message);
    writer->WritesDone();
    return StatusOf(writer->Finish());
  };
  EXPECT_THAT(publish({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no message")));
  v1::PublishUnitRequest metadata;
  metadata.set_metadata("{}");
  EXPECT_THAT(publish({metadata}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("first message must be the header")));

  const EpochRequest epoch = cache.Fill(8);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  cache.catalog().OpenSet(epoch.set_id, OpenMode::kContribute));
  const Manifest more = testing::MakeSyntheticManifest(16);
  AFTERIMAGE_ASSERT_OK(cache.catalog().PutManifest(more));
  ClaimRequest claim;
  claim.manifest = more.digest();
  claim.worker = "worker";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult claimed, set.ledger->Claim(claim));
  ASSERT_EQ(claimed.units.size(), 1);
  v1::PublishUnitRequest header;
  header.mutable_header()->set_set_id(DigestToWire(epoch.set_id));
  ToWire(claimed.units[0].lease, header.mutable_header()->mutable_lease());
  EXPECT_THAT(publish({header}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without metadata")));
  EXPECT_THAT(publish({header, header}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("only blocks and metadata")));
  header.mutable_header()->mutable_lease()->set_token("another");
  EXPECT_THAT(publish({header}), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(CacheServerTest, AManifestThatIsNotWhatWasAnnouncedIsRefused) {
  ServedCache cache;
  RawClient client(cache);
  const Manifest manifest = testing::MakeSyntheticManifest(4);
  const auto put = [&](const std::string& digest, const std::string& content) {
    grpc::ClientContext context;
    v1::PutManifestResponse response;
    auto writer = client.catalog->PutManifest(&context, &response);
    v1::PutManifestRequest piece;
    piece.set_digest(digest);
    piece.set_content(content);
    writer->Write(piece);
    writer->WritesDone();
    return StatusOf(writer->Finish());
  };
  EXPECT_THAT(put(std::string(32, 'd'), manifest.Serialize()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(manifest.digest().Hex())));
  EXPECT_THAT(put(DigestToWire(manifest.digest()), "rubbish"), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(put(DigestToWire(manifest.digest()), manifest.Serialize()), IsOk());
}

}  // namespace
}  // namespace afterimage
