#include "cache_server/service/stream_gate.h"

#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

TEST(StreamGateTest, RefusesMoreThanTheLimitAndNamesIt) {
  ServerMetrics metrics;
  StreamGate gate(2, &metrics);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto first, gate.Enter());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto second, gate.Enter());
  EXPECT_THAT(gate.Enter(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("all 2 streams")));
  first.reset();
  EXPECT_THAT(gate.Enter(), IsOk());
}

TEST(StreamGateTest, ADrainingGateLetsOnlyWorkersIn) {
  ServerMetrics metrics;
  StreamGate gate(4, &metrics);
  EXPECT_THAT(gate.CheckServing(), IsOk());
  gate.BeginDrain();
  EXPECT_THAT(gate.CheckServing(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_THAT(gate.Enter(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_THAT(gate.Enter(/*even_while_draining=*/true), IsOk());
}

TEST(StreamGateTest, WaitUntilIdleTellsWhetherStreamsAreLeft) {
  ServerMetrics metrics;
  StreamGate gate(4, &metrics);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto pass, gate.Enter());
  EXPECT_FALSE(gate.WaitUntilIdle(absl::Milliseconds(10)));
  pass.reset();
  EXPECT_TRUE(gate.WaitUntilIdle(absl::Milliseconds(10)));
}

TEST(StreamGateTest, StopAllCallsEachStreamOnceAlsoOneThatComesLate) {
  ServerMetrics metrics;
  StreamGate gate(4, &metrics);
  int calls = 0;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto early, gate.Enter());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto late, gate.Enter());
  early->OnStop([&] { ++calls; });
  gate.StopAll();
  EXPECT_EQ(calls, 1);
  late->OnStop([&] { ++calls; });
  EXPECT_EQ(calls, 2);
  gate.StopAll();
  EXPECT_EQ(calls, 2);
  EXPECT_THAT(gate.Enter(/*even_while_draining=*/true), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace afterimage
