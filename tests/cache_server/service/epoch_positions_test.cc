// Explicit positions of ReadEpoch on the wire: what is refused, and between releases.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <string>

#include "afterimage/v1/catalog.grpc.pb.h"
#include "afterimage/v1/epochs.grpc.pb.h"
#include "gmock/gmock.h"
#include "proto/wire/convert.h"
#include "tests/cache_server/service/served_cache.h"

namespace afterimage::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

CacheServer::Options WithMostRanges(uint32_t most) {
  CacheServer::Options options;
  options.limits.max_position_ranges = most;
  return options;
}

// How the server ends a call with this request.
grpc::Status EndOf(const ServedCache& cache, const v1::EpochRequest& request) {
  const auto connection = cache.Connect();
  const auto stub = v1::Epochs::NewStub(connection->channel());
  grpc::ClientContext context;
  const auto stream = stub->ReadEpoch(&context);
  v1::ReadEpochRequest first;
  *first.mutable_request() = request;
  stream->Write(first);
  stream->WritesDone();
  for (v1::ReadEpochResponse response; stream->Read(&response);) {
  }
  return stream->Finish();
}

TEST(EpochPositionsTest, OverTheLimitIsRefusedByClientAndServer) {
  ServedCache cache(WithMostRanges(2));
  EpochRequest request = cache.Fill(24);
  request.positions = {{0, 1}, {2, 5}};
  RemoteEpochSource source(cache.Connect());
  EXPECT_THAT(source.Open(request), IsOk());
  v1::EpochRequest wire;
  ToWire(request, &wire);
  EXPECT_TRUE(EndOf(cache, wire).ok());

  request.positions.push_back({7, 8});
  EXPECT_THAT(source.Open(request), StatusIs(absl::StatusCode::kInvalidArgument,
                                             AllOf(HasSubstr("3 ranges"), HasSubstr("max_position_ranges"))));
  wire.Clear();
  ToWire(request, &wire);
  const grpc::Status status = EndOf(cache, wire);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("3 ranges of positions, max_position_ranges is 2"));
}

TEST(EpochPositionsTest, ARankOrStepsBesidePositionsAreRefused) {
  ServedCache cache;
  EpochRequest request = cache.Fill(24);
  request.positions = {{0, 1}};
  v1::EpochRequest wire;
  ToWire(request, &wire);
  EXPECT_EQ(wire.num_ranks(), 0);
  wire.set_num_ranks(1);
  EXPECT_THAT(EndOf(cache, wire).error_message(), HasSubstr("the slice of rank 0 of 1: give one of the two"));
  wire.set_num_ranks(0);
  wire.set_rank(1);
  EXPECT_THAT(EndOf(cache, wire).error_message(), HasSubstr("the slice of rank 1 of 0: give one of the two"));
  wire.set_rank(0);
  wire.set_step_end(2);
  EXPECT_THAT(EndOf(cache, wire).error_message(), HasSubstr("a range of steps: give one of the two"));
}

TEST(EpochPositionsTest, AServerThatDoesNotKnowTheFieldRefusesTheRequest) {
  ServedCache cache;
  EpochRequest request = cache.Fill(24);
  request.positions = {{0, 1}};
  v1::EpochRequest wire;
  ToWire(request, &wire);
  wire.clear_positions();  // all that such a server sees
  const grpc::Status status = EndOf(cache, wire);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("rank 0 of 0"));
}

TEST(EpochPositionsTest, AClientDoesNotAskAServerThatAdvertisesNone) {
  ServedCache cache(WithMostRanges(0));
  EpochRequest request = cache.Fill(24);
  request.positions = {{0, 1}};
  RemoteEpochSource source(cache.Connect());
  EXPECT_THAT(source.Open(request),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("knows no explicit positions")));
}

TEST(EpochPositionsTest, TheLimitIsAdvertised) {
  ServedCache cache(WithMostRanges(77));
  const auto connection = cache.Connect();
  EXPECT_EQ(connection->limits().max_position_ranges, 77);
}

}  // namespace
}  // namespace afterimage::testing
