// Requests that are malformed, out of turn or beyond a limit: each is told what is wrong with it.
#include <grpcpp/client_context.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "proto/wire/convert.h"
#include "tests/cache_server/service/raw_client.h"
#include "tests/cache_server/service/served_cache.h"

namespace afterimage {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::RawClient;
using testing::ServedCache;
using testing::StatusIs;
using testing::StatusOf;

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

TEST(RefusedRequestsTest, MalformedReadsAreRefusedWithTheReason) {
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

TEST(RefusedRequestsTest, ARecordAboveTheMessageLimitNamesKeyAndLimit) {
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

TEST(RefusedRequestsTest, MalformedEpochRequestsAreRefusedWithTheReason) {
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

TEST(RefusedRequestsTest, AfterTheRequestOnlyCreditMayBeSent) {
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

TEST(RefusedRequestsTest, PublishingOutOfTurnIsRefused) {
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

TEST(RefusedRequestsTest, ARequestIsNotDecidedForASetThatThereIsNot) {
  ServedCache cache;
  const EpochRequest epoch = cache.Fill(4);
  RawClient client(cache);
  const auto decide = [&](const Digest256& set) {
    v1::DecideChoiceRequest request;
    request.set_request(std::string(32, 'r'));
    request.set_set_id(DigestToWire(set));
    grpc::ClientContext context;
    v1::DecideChoiceResponse response;
    return StatusOf(client.catalog->DecideChoice(&context, request, &response));
  };
  const Digest256 nothing = testing::MakeSyntheticManifest(5).digest();
  EXPECT_THAT(decide(nothing), StatusIs(absl::StatusCode::kNotFound, HasSubstr(nothing.Hex())));
  EXPECT_THAT(decide(epoch.set_id), IsOk());
}

TEST(RefusedRequestsTest, NamesThatAreNoneOrStandForNothingAreRefused) {
  ServedCache cache;
  const EpochRequest epoch = cache.Fill(4);
  RawClient client(cache);
  const auto name = [&](const std::string& text, const Digest256& target) {
    v1::SetNameRequest request;
    request.set_name(text);
    request.set_target(DigestToWire(target));
    grpc::ClientContext context;
    v1::SetNameResponse response;
    return StatusOf(client.catalog->SetName(&context, request, &response));
  };
  const Digest256 nothing = testing::MakeSyntheticManifest(5).digest();
  EXPECT_THAT(name("mine", nothing), StatusIs(absl::StatusCode::kNotFound, HasSubstr(nothing.Hex())));
  for (const std::string& text :
       {std::string("../up"), std::string("a\0b", 3), std::string("a/b"), std::string(""),
        std::string("a\nb"), std::string(65, 'a'), epoch.set_id.Hex()})
    EXPECT_THAT(name(text, epoch.set_id), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  EXPECT_THAT(name("mine", epoch.set_id), IsOk());
  EXPECT_THAT(name("data", epoch.order.manifest), IsOk());
}

TEST(RefusedRequestsTest, AManifestThatIsNotWhatWasAnnouncedIsRefused) {
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
