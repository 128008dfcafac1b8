#include "cache_server/service/peer_limits.h"

#include <memory>
#include <vector>

#include "cache_server/service/prometheus_text.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using Kind = PeerLimits::Kind;

TEST(PeerLimitsTest, OnePeersStreamsAndCallsAreCountedApartFromAnothers) {
  ServerMetrics metrics;
  PeerLimits limits(/*max_calls=*/1, /*max_streams=*/2, &metrics);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto first, limits.Enter("ipv4:10.0.0.7", Kind::kStream));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto second, limits.Enter("ipv4:10.0.0.7", Kind::kStream));
  EXPECT_THAT(limits.Enter("ipv4:10.0.0.7", Kind::kStream),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("ipv4:10.0.0.7 has 2 streams"), HasSubstr("max_streams_per_peer is 2"),
                             HasSubstr("--max-streams-per-peer"))));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto call, limits.Enter("ipv4:10.0.0.7", Kind::kShortCall));
  EXPECT_THAT(limits.Enter("ipv4:10.0.0.7", Kind::kShortCall),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("max_calls_per_peer is 1"), HasSubstr("--max-calls-per-peer"))));
  EXPECT_THAT(limits.Enter("ipv4:10.0.0.8", Kind::kStream), IsOk());
  first.reset();
  EXPECT_THAT(limits.Enter("ipv4:10.0.0.7", Kind::kStream), IsOk());

  PrometheusText text;
  metrics.AppendTo(text);
  EXPECT_THAT(text.text(), AllOf(HasSubstr("afterimage_refusals_total{limit=\"max_streams\"} 0\n"),
                                 HasSubstr("afterimage_refusals_total{limit=\"max_streams_per_peer\"} 1\n"),
                                 HasSubstr("afterimage_refusals_total{limit=\"max_calls_per_peer\"} 1\n")));
}

TEST(PeerLimitsTest, NoLimitRefusesNobody) {
  ServerMetrics metrics;
  PeerLimits limits(0, 0, &metrics);
  std::vector<std::unique_ptr<PeerLimits::Pass>> passes;
  for (int i = 0; i < 1000; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(passes.emplace_back(), limits.Enter("unix:", Kind::kStream));
  }
}

TEST(PeerLimitsTest, APeerIsItsTokenElseItsAddressWithoutThePort) {
  EXPECT_EQ(PeerLimits::PeerOf("ipv4:10.0.0.7:51234", ""), "ipv4:10.0.0.7");
  EXPECT_EQ(PeerLimits::PeerOf("ipv6:%5B::1%5D:51234", ""), "ipv6:%5B::1%5D");
  EXPECT_EQ(PeerLimits::PeerOf("unix:", ""), "unix:");
  EXPECT_EQ(PeerLimits::PeerOf("unix:/run/a:b.sock", ""), "unix:/run/a:b.sock");
  EXPECT_EQ(PeerLimits::PeerOf("ipv4:10.0.0.7:51234", "workers"), "token workers");
}

}  // namespace
}  // namespace afterimage
