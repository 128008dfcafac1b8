// What streams may take: credit, and how many there may be at once.
#include <grpcpp/client_context.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "gmock/gmock.h"
#include "proto/wire/convert.h"
#include "tests/cache_server/service/raw_client.h"
#include "tests/cache_server/service/served_cache.h"
#include "tests/testing/observed_catalog.h"

namespace afterimage {
namespace {

using testing::Eventually;
using ::testing::HasSubstr;
using testing::RawClient;
using testing::ServedCache;
using testing::StatusIs;

TEST(StreamLimitsTest, AStalledReaderGetsNoMoreThanItsCredit) {
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

// A client that gives back what it has not got buys nothing with it: frames go to the socket as they are taken,
// and EpochReader reads ahead of those that were taken, not of what is said to be paid. (A session that put
// them into a queue read the whole set.)
TEST(StreamLimitsTest, CreditBeyondWhatWasSentIsWorthNothing) {
  ServedCache filled;
  EpochRequest epoch = filled.Fill(4096);
  epoch.credit_bytes = 64 << 10;
  testing::ObservedCatalog observed(&filled.catalog());
  std::atomic<uint64_t> num_read = 0;
  observed.observer().before_record = [&](const RecordKey&) {
    ++num_read;
    return absl::OkStatus();
  };
  EpochReader source(&observed, {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto server, CacheServer::Start(&observed, &source, {}));
  grpc::ChannelArguments little;  // is taken from the server before it is read
  little.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  little.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
  RawClient client(*server, little);
  grpc::ClientContext context;
  auto stream = client.epochs->ReadEpoch(&context);
  v1::ReadEpochRequest first;
  ToWire(epoch, first.mutable_request());
  stream->Write(first);
  v1::ReadEpochRequest credit;
  credit.set_credit_bytes(uint64_t{1} << 63);
  for (int i = 0; i < 200; ++i) {
    EXPECT_TRUE(stream->Write(credit));
    absl::SleepFor(absl::Milliseconds(2));
  }
  // What socket and HTTP/2 hold counts as sent.
  EXPECT_LT(num_read, 4096 / 2);
  context.TryCancel();
}

TEST(StreamLimitsTest, AClientThatVanishesFreesItsStreams) {
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

TEST(StreamLimitsTest, ATransferWhoseClientIsSilentIsEnded) {
  CacheServer::Options options;
  options.transfer_patience = absl::Milliseconds(600);
  ServedCache cache(options);
  RawClient client(cache);
  // Alive for longer than the patience, as long as it sends.
  grpc::ClientContext put_context;
  v1::PutProfileResponse put_response;
  auto put = client.catalog->PutProfile(&put_context, &put_response);
  v1::BytesPiece piece;
  piece.set_content("x");
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(put->Write(piece)) << i;
    absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_EQ(put->Finish().error_code(), grpc::StatusCode::CANCELLED);  // no WritesDone

  grpc::ClientContext publish_context;
  v1::PublishReport report;
  auto publish = client.units->PublishUnit(&publish_context, &report);
  EXPECT_EQ(publish->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return cache.server().num_streams() == 0; }));

  // A reader that takes nothing: more than the socket and the window hold.
  const EpochRequest epoch = cache.Fill(512, 1, {.levels = {1, 2, 3, 4}, .width = 256, .codec = Codec::kF32});
  v1::ReadRecordsRequest request;
  request.set_set_id(DigestToWire(epoch.set_id));
  for (int i = 0; i < 512; ++i) ToWire(RecordKey{testing::SyntheticImageKey(i), 0}, request.add_keys());
  grpc::ClientContext read_context;
  auto reader = client.records->ReadRecords(&read_context, request);
  EXPECT_TRUE(Eventually([&] { return cache.server().num_streams() == 1; }));
  EXPECT_TRUE(Eventually([&] { return cache.server().num_streams() == 0; }));
  v1::ReadRecordsResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(StreamLimitsTest, OneStreamTooManyIsToldToTryAgain) {
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

TEST(StreamLimitsTest, OneStreamTooManyOfAPeerIsRefusedByTheLimitThatWasAdvertised) {
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

}  // namespace
}  // namespace afterimage
