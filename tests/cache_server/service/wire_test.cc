// proto/wire: statuses and conversions, there and back.
#include <google/protobuf/util/message_differencer.h>

#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "proto/wire/convert.h"
#include "proto/wire/grpc_status.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

constexpr char kAddress[] = "grpc://host:4747";

TEST(GrpcStatusTest, OurStatusesComeBackAsTheyWereSent) {
  for (int code = 1; code <= 16; ++code) {
    if (code == static_cast<int>(absl::StatusCode::kUnavailable)) continue;
    const absl::Status sent(static_cast<absl::StatusCode>(code), "the text");
    EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(sent), kAddress), sent);
  }
  EXPECT_THAT(FromGrpcStatus(ToGrpcStatus(absl::OkStatus()), kAddress), IsOk());
  EXPECT_THAT(FromGrpcStatus(ToGrpcStatus(absl::UnavailableError("draining")), kAddress),
              StatusIs(absl::StatusCode::kUnavailable, Eq("server at grpc://host:4747: draining")));
}

TEST(GrpcStatusTest, WhatIsToBeTriedAgainIsUnavailableToOurClientAndNamedOnTheWire) {
  const grpc::Status wire = ToGrpcStatus(RetryLater(absl::ResourceExhaustedError("the limit is 3")));
  EXPECT_EQ(wire.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(FromGrpcStatus(wire, kAddress),
              StatusIs(absl::StatusCode::kUnavailable, Eq("server at grpc://host:4747: the limit is 3")));
}

TEST(GrpcStatusTest, StatusesOfGrpcItselfGetAddressAndRemedy) {
  const auto from = [](grpc::StatusCode code, const std::string& text) {
    return FromGrpcStatus(grpc::Status(code, text), kAddress);
  };
  for (const auto& lost : {from(grpc::StatusCode::UNAVAILABLE, "failed to connect to all addresses"),
                           from(grpc::StatusCode::CANCELLED, "Cancelled on the server side"),
                           from(grpc::StatusCode::UNKNOWN, "Stream removed"),
                           from(grpc::StatusCode::INTERNAL, "Received RST_STREAM with error code 2")}) {
    EXPECT_THAT(lost, StatusIs(absl::StatusCode::kUnavailable,
                               AllOf(HasSubstr(kAddress), HasSubstr("afterimage-server --cache"))));
  }
  EXPECT_THAT(from(grpc::StatusCode::DEADLINE_EXCEEDED, ""),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr(kAddress)));
  EXPECT_THAT(from(grpc::StatusCode::RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("larger than max (5 vs. 4)")));
  EXPECT_THAT(from(grpc::StatusCode::UNIMPLEMENTED, ""),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no afterimage-server")));
  EXPECT_THAT(from(grpc::StatusCode::INTERNAL, "other"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("other")));
}

TEST(GrpcStatusTest, LongTextsAreCutBetweenCharacters) {
  std::string text;
  while (text.size() < 10'000) text += "aé€";
  const grpc::Status cut = ToGrpcStatus(absl::NotFoundError(text));
  EXPECT_LT(cut.error_message().size(), 2600);
  const std::string kept =
      cut.error_message().substr(0, cut.error_message().size() - std::string(" …").size());
  EXPECT_EQ(text.compare(0, kept.size(), kept), 0);
  EXPECT_NE(static_cast<unsigned char>(text[kept.size()]) & 0xC0, 0x80);
}

TEST(ConvertTest, DigestsAreCheckedForTheirLength) {
  const Digest256 digest = Sha256({});
  EXPECT_THAT(DigestFromWire("set_id", DigestToWire(digest)), IsOkAndHolds(digest));
  EXPECT_THAT(DigestFromWire("set_id", "abc"),
              StatusIs(absl::StatusCode::kInvalidArgument, Eq("set_id: 32 bytes expected, 3 given")));
  // Low half first, each little-endian.
  const Digest128 record{0x0807060504030201, 0x100f0e0d0c0b0a09};
  EXPECT_EQ(DigestToWire(record), "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10");
  EXPECT_THAT(Digest128FromWire("record_digest", DigestToWire(record)), IsOkAndHolds(record));
}

TEST(ConvertTest, EpochRequestsGoThereAndBack) {
  EpochRequest request;
  request.set_id = Sha256({});
  request.order.manifest = Sha256({});
  request.order.num_occurrences = 1000;
  request.order.order_seed = uint64_t{1} << 60;
  request.order.num_view_seeds = 3;
  request.order.mask = {.type = MaskSpec::Type::kRandom, .num_visible = 9, .mask_seed = 5};
  request.order.tail = OrderSpec::Tail::kPad;
  request.epoch = 4;
  request.step_begin = 5;
  request.step_end = 6;
  request.global_batch = 70;
  request.slice = {2, 3};
  request.selection = {.levels = {2, 4},
                       .tokens = Selection::Tokens::kMask,
                       .pixels = false,
                       .encoding = Selection::Encoding::kBf16};
  request.credit_bytes = 12345;
  v1::EpochRequest wire;
  ToWire(request, &wire);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochRequest back, FromWire(wire));
  EXPECT_EQ(back.set_id, request.set_id);
  EXPECT_EQ(back.order, request.order);
  EXPECT_EQ(back.selection, request.selection);
  EXPECT_EQ(std::make_pair(back.slice.rank, back.slice.num_ranks), std::make_pair(2u, 3u));
  v1::EpochRequest again;
  ToWire(back, &again);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(wire, again));
}

TEST(ConvertTest, ExplicitPositionsGoThereAndBackWithoutARank) {
  EpochRequest request;
  request.order.manifest = Sha256({});
  request.order.num_occurrences = 1000;
  request.global_batch = 70;
  request.positions = {{3, 4}, {uint64_t{1} << 40, (uint64_t{1} << 40) + 9}};
  v1::EpochRequest wire;
  ToWire(request, &wire);
  EXPECT_EQ(wire.num_ranks(), 0);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochRequest back, FromWire(wire));
  EXPECT_EQ(back.positions, request.positions);
  EXPECT_EQ(std::make_pair(back.slice.rank, back.slice.num_ranks), std::make_pair(0u, 1u));
  wire.set_num_ranks(1);
  EXPECT_THAT(FromWire(wire), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 0 of 1")));
}

TEST(ConvertTest, EveryEncodingComesBack) {
  for (const std::string& name : EncodingNames()) {
    const Selection selection = {.encoding = ParseEncoding(name).value()};
    v1::Selection wire;
    ToWire(selection, &wire);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Selection back, FromWire(wire));
    EXPECT_EQ(back, selection) << name;
  }
}

TEST(ConvertTest, ALeaseKeepsItsExpiryWithinAMoment) {
  const UnitLease lease = {{Sha256({}), 7, 2, 4}, "worker", "token", absl::Now() + absl::Seconds(60)};
  v1::Lease wire;
  ToWire(lease, &wire);
  EXPECT_NEAR(static_cast<double>(wire.expires_in_us()), 60e6, 1e6);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const UnitLease back, FromWire(wire));
  EXPECT_EQ(back.unit, lease.unit);
  EXPECT_EQ(back.worker, lease.worker);
  EXPECT_EQ(back.token, lease.token);
  EXPECT_LT(absl::AbsDuration(back.expires - lease.expires), absl::Seconds(1));
}

}  // namespace
}  // namespace afterimage
