#include "trainer/distributed/rank_monitor.h"

#include <atomic>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage::trainer {
namespace {

using afterimage::testing::IsOk;
using afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A store that can go away.
class FragileStore : public RankStore {
 public:
  absl::Status Set(const std::string& key, const std::string& value) override {
    return gone_ ? Gone() : store_.Set(key, value);
  }
  absl::StatusOr<std::vector<std::optional<std::string>>> Get(const std::vector<std::string>& keys) override {
    if (gone_) return Gone();
    return store_.Get(keys);
  }
  absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) override {
    return store_.Add(key, amount);
  }
  void Go() { gone_ = true; }

 private:
  static absl::Status Gone() { return absl::UnavailableError("connection reset"); }
  InMemoryRankStore store_;
  std::atomic<bool> gone_{false};
};

class RankMonitorTest : public ::testing::Test {
 protected:
  static RankMonitor::Options Quick() {
    RankMonitor::Options options;
    options.interval = absl::Milliseconds(20);
    options.lost = absl::Milliseconds(1000);
    options.lost_after_error = absl::Milliseconds(500);
    options.store_owner = "rank 0 (host0, pid 100)";
    return options;
  }
  std::shared_ptr<RankMonitor> Start(uint32_t rank, RankMonitor::Options options = Quick()) {
    std::vector<RankPeer> peers(3);
    for (uint32_t r = 0; r < 3; ++r) {
      peers[r].rank = r;
      peers[r].host = absl::StrCat("host", r);
      peers[r].pid = 100 + r;
    }
    return RankMonitor::Start(store_, rank, peers, std::move(options));
  }
  // Until `condition`, for at most ten seconds.
  static bool Await(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) absl::SleepFor(absl::Milliseconds(10));
    return condition();
  }

  const std::shared_ptr<FragileStore> store_ = std::make_shared<FragileStore>();
};

TEST_F(RankMonitorTest, AllIsWellWhileAllBeatAndWhenAllHaveLeftInGoodOrder) {
  const auto first = Start(0), second = Start(1), third = Start(2);
  absl::SleepFor(absl::Milliseconds(1500));
  EXPECT_THAT(first->Verdict(), IsOk());
  for (const auto& monitor : {second, third}) {
    monitor->Leave(absl::OkStatus());
    monitor->Stop();
  }
  absl::SleepFor(absl::Milliseconds(1500));
  EXPECT_THAT(first->Verdict(), IsOk());
  first->Leave(absl::OkStatus());
  first->Stop();
}

TEST_F(RankMonitorTest, ARankWithoutBeatsHasGoneAndWhatItDidIsTold) {
  const auto first = Start(0), second = Start(1);
  // Rank 2 beats once and never again.
  ASSERT_THAT(store_->Set("beat/2", R"({"n":1,"does":"step 7: input"})"), IsOk());
  ASSERT_TRUE(Await([&] { return !first->Verdict().ok(); }));
  const auto names =
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("rank 2 (host2, pid 102) has gone"), HasSubstr("step 7: input")));
  EXPECT_THAT(first->Verdict(), names);
  EXPECT_TRUE(Await([&] { return !second->Verdict().ok(); }));
  EXPECT_THAT(second->Explain("connection closed by peer"), names);
  for (const auto& monitor : {first, second}) monitor->Stop();
}

TEST_F(RankMonitorTest, AnErrorIsToldToTheOthersAndStaysTheCauseWhenTheyLeaveToo) {
  const auto first = Start(0), second = Start(1), third = Start(2);
  second->Leave(absl::DataLossError("a record is damaged"));
  second->Stop();
  ASSERT_TRUE(Await([&] { return !first->Verdict().ok(); }));
  const auto cause =
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("rank 1 (host1, pid 101) ended"), HasSubstr("a record is damaged")));
  const absl::Status verdict = first->Verdict();
  EXPECT_THAT(verdict, cause);
  first->Leave(verdict);
  first->Stop();
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_THAT(third->Explain("connection closed by peer"), cause);
  third->Stop();
}

TEST_F(RankMonitorTest, AStoreThatIsGoneMeansItsOwner) {
  const auto second = Start(1), third = Start(2);
  store_->Go();
  ASSERT_TRUE(Await([&] { return !second->Verdict().ok(); }));
  EXPECT_THAT(second->Verdict(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0 (host0, pid 100) has gone")));
  for (const auto& monitor : {second, third}) monitor->Stop();
}

TEST_F(RankMonitorTest, WhoIsAwaitedAreThoseWhoDoNotWait) {
  const auto first = Start(0), second = Start(1), third = Start(2);
  second->SetWaiting(true);
  third->SetActivity("step 9: checkpoint");
  EXPECT_TRUE(Await([&] { return first->Awaited() == "rank 2 (host2, pid 102): step 9: checkpoint"; }))
      << first->Awaited();
  for (const auto& monitor : {first, second, third}) monitor->Leave(absl::OkStatus());
  for (const auto& monitor : {first, second, third}) monitor->Stop();
}

TEST_F(RankMonitorTest, AStopOfOneIsAStopOfAll) {
  std::atomic<bool> asked{false}, heard{false};
  RankMonitor::Options asking = Quick();
  asking.stopping = [&] { return asked.load(); };
  RankMonitor::Options hearing = Quick();
  hearing.on_stop = [&] { heard = true; };
  const auto first = Start(0, asking), second = Start(1, hearing);
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_FALSE(heard);
  asked = true;
  EXPECT_TRUE(Await([&] { return heard.load(); }));
  for (const auto& monitor : {first, second}) monitor->Stop();
}

TEST_F(RankMonitorTest, TheKeeperOfTheStoreStaysUntilTheOthersHaveLeft) {
  RankMonitor::Options keeper = Quick();
  keeper.keeps_store = true;
  keeper.lost_after_error = absl::Seconds(10);
  const auto first = Start(0, keeper);
  const auto second = Start(1), third = Start(2);
  std::atomic<bool> left{false};
  std::thread leaving([&] {
    first->Leave(absl::OkStatus());
    left = true;
  });
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_FALSE(left);
  for (const auto& monitor : {second, third}) {
    monitor->Leave(absl::OkStatus());
    monitor->Stop();
  }
  leaving.join();
  first->Stop();
}

}  // namespace
}  // namespace afterimage::trainer
