#include "trainer/distributed/rendezvous.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/stop_signal.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage::trainer {
namespace {

using afterimage::testing::IsOk;
using afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class RendezvousTest : public ::testing::Test {
 protected:
  void SetUp() override { ResetStopForTest(); }
  void TearDown() override { ResetStopForTest(); }

  static RankPeer Me(uint32_t rank, const std::string& build = "1.0") {
    RankPeer me;
    me.rank = rank;
    me.host = absl::StrCat("host", rank);
    me.pid = 100 + rank;
    me.build = build;
    return me;
  }
  static RankLaunch Launch(uint32_t rank, uint32_t num_ranks) {
    RankLaunch launch;
    launch.rank = rank;
    launch.num_ranks = num_ranks;
    launch.origin = "the test";
    return launch;
  }
  // All ranks at once; their results.
  std::vector<absl::StatusOr<std::vector<RankPeer>>> Meet(
      const std::vector<std::pair<RankLaunch, RankPeer>>& ranks, absl::Duration timeout = absl::Seconds(20)) {
    std::vector<absl::StatusOr<std::vector<RankPeer>>> results(ranks.size(), absl::UnknownError(""));
    std::vector<std::thread> threads;
    for (size_t i = 0; i < ranks.size(); ++i) {
      threads.emplace_back([&, i] {
        RendezvousOptions options;
        options.timeout = timeout;
        results[i] = MeetRanks(store_, ranks[i].first, ranks[i].second, options);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return results;
  }

  InMemoryRankStore store_;
};

TEST_F(RendezvousTest, EachRankLearnsOfAllOthers) {
  const auto results = Meet({{Launch(0, 3), Me(0)}, {Launch(1, 3), Me(1)}, {Launch(2, 3), Me(2)}});
  for (const auto& peers : results) {
    ASSERT_THAT(peers.status(), IsOk());
    ASSERT_EQ(peers->size(), 3u);
    EXPECT_EQ((*peers)[2].Text(), "rank 2 (host2, pid 102)");
  }
}

TEST_F(RendezvousTest, RanksThatDoNotComeAreNamed) {
  std::vector<std::string> messages;
  RendezvousOptions options;
  options.timeout = absl::Milliseconds(400);
  options.message_interval = absl::Milliseconds(100);
  options.message = [&](const std::string& text) { messages.push_back(text); };
  EXPECT_THAT(MeetRanks(store_, Launch(1, 4), Me(1), options).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("ranks 0, 2, 3 of 4 did not come")));
  ASSERT_FALSE(messages.empty());
  EXPECT_EQ(messages[0], "rank 1 waits for ranks 0, 2, 3 of 4 (the test)");
}

TEST_F(RendezvousTest, TwoProcessesOfOneRankAreRefused) {
  const auto results = Meet({{Launch(1, 2), Me(1)}, {Launch(1, 2), Me(1)}}, absl::Seconds(2));
  const bool first = absl::IsFailedPrecondition(results[0].status());
  EXPECT_THAT(
      results[first ? 0 : 1].status(),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("rank 1 (host1, pid 101) comes after"), HasSubstr("a rank of its own"))));
}

TEST_F(RendezvousTest, OtherNumbersOfRanksAreRefusedWithBoth) {
  const auto results = Meet({{Launch(0, 2), Me(0)}, {Launch(1, 3), Me(1)}});
  for (const auto& result : results) {
    EXPECT_THAT(result.status(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                          AllOf(HasSubstr("one of 3 ranks"), HasSubstr("one of 2 ranks"))));
  }
}

TEST_F(RendezvousTest, OtherProgramsAreRefusedWithBothEvenWhereOnlyOneRankHasSeenIt) {
  // Rank 2 comes when the others have gone.
  for (const auto& result : Meet({{Launch(0, 3), Me(0, "1.0")}, {Launch(1, 3), Me(1, "1.1")}})) {
    EXPECT_THAT(result.status(),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("another program"), HasSubstr("1.0"), HasSubstr("1.1"))));
  }
  const auto late = Meet({{Launch(2, 3), Me(2, "1.0")}});
  EXPECT_THAT(late[0].status(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("1.1")));
}

TEST_F(RendezvousTest, AStopEndsTheWait) {
  RequestStop();
  EXPECT_THAT(MeetRanks(store_, Launch(0, 2), Me(0), {}).status(),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
}

TEST_F(RendezvousTest, ThisBuildIsTheSameEachTime) {
  EXPECT_EQ(ThisBuild(), ThisBuild());
  EXPECT_THAT(ThisBuild(), AllOf(HasSubstr("afterimage 0."), ::testing::Not(HasSubstr("unreadable"))));
}

}  // namespace
}  // namespace afterimage::trainer
