#include "cache_server/storage/lease_table.h"

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::IsOkAndHolds;
using ::testing::Pair;
using testing::StatusIs;
using testing::TemporaryFolder;

MATCHER(IsNothing, "") { return !arg.has_value(); }

class LeaseTableTest : public ::testing::Test {
 protected:
  LeaseTable Table() {
    return LeaseTable(folder_.path(), [this] { return now_; });
  }
  UnitId Unit(uint32_t shard = 0) { return {.shard = shard, .seed_begin = 0, .seed_end = 2}; }

  TemporaryFolder folder_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
};

TEST_F(LeaseTableTest, LivingLeaseExcludesAllOthers) {
  LeaseTable table = Table();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto lease, table.Acquire(Unit(), "a", absl::Seconds(60)));
  ASSERT_TRUE(lease.has_value());
  EXPECT_EQ(lease->worker, "a");
  EXPECT_EQ(lease->expires, now_ + absl::Seconds(60));
  EXPECT_THAT(table.Acquire(Unit(), "b", absl::Seconds(60)), IsOkAndHolds(IsNothing()));
  EXPECT_THAT(table.Acquire(Unit(), "a", absl::Seconds(60)), IsOkAndHolds(IsNothing()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto other_unit, table.Acquire(Unit(1), "b", absl::Seconds(60)));
  EXPECT_TRUE(other_unit.has_value());
  EXPECT_THAT(table.Living(),
              IsOkAndHolds(ElementsAre(Pair(Unit(0).ToString(), "a"), Pair(Unit(1).ToString(), "b"))));
}

TEST_F(LeaseTableTest, ExpiredLeaseIsTakenOverAndItsHolderTold) {
  LeaseTable table = Table();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto old_lease, table.Acquire(Unit(), "a", absl::Seconds(60)));
  now_ += absl::Seconds(61);
  EXPECT_THAT(table.Living(), IsOkAndHolds(IsEmpty()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto new_lease, table.Acquire(Unit(), "b", absl::Seconds(60)));
  ASSERT_TRUE(new_lease.has_value());
  EXPECT_THAT(table.Renew(*old_lease, absl::Seconds(60)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("worker b holds the unit now")));
  EXPECT_THAT(table.Release(*old_lease), IsOk());
  EXPECT_THAT(table.CheckOurs(*new_lease), IsOk());
}

TEST_F(LeaseTableTest, ExpiredLeaseThatNobodyTookGoesOn) {
  LeaseTable table = Table();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto lease, table.Acquire(Unit(), "a", absl::Seconds(60)));
  now_ += absl::Seconds(90);
  EXPECT_THAT(table.Renew(*lease, absl::Seconds(60)), IsOkAndHolds(now_ + absl::Seconds(60)));
  EXPECT_THAT(table.Acquire(Unit(), "b", absl::Seconds(60)), IsOkAndHolds(IsNothing()));
}

TEST_F(LeaseTableTest, ReleasedLeaseIsFreeAndGone) {
  LeaseTable table = Table();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto lease, table.Acquire(Unit(), "a", absl::Seconds(60)));
  EXPECT_THAT(table.Release(*lease), IsOk());
  EXPECT_THAT(table.Release(*lease), IsOk());
  EXPECT_THAT(table.Renew(*lease, absl::Seconds(60)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is gone")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto next, table.Acquire(Unit(), "b", absl::Seconds(60)));
  EXPECT_TRUE(next.has_value());
}

TEST_F(LeaseTableTest, LeaseFileThatCannotBeUnderstoodIsReplaced) {
  std::ofstream(folder_ / Unit().ToString()) << "{\"worker\": ";
  LeaseTable table = Table();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto lease, table.Acquire(Unit(), "a", absl::Seconds(60)));
  ASSERT_TRUE(lease.has_value());
  EXPECT_THAT(table.CheckOurs(*lease), IsOk());
}

TEST_F(LeaseTableTest, OfManyThievesOneWins) {
  constexpr int kThieves = 8;
  constexpr int kRounds = 20;
  LeaseTable table = Table();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto first, table.Acquire(Unit(), "dead", absl::Seconds(1)));
  ASSERT_TRUE(first.has_value());
  for (int round = 0; round < kRounds; ++round) {
    now_ += absl::Minutes(1);
    std::atomic<int> num_winners = 0;
    std::vector<std::thread> thieves;
    for (int i = 0; i < kThieves; ++i) {
      thieves.emplace_back([&, i] {
        LeaseTable own = Table();
        const auto lease = own.Acquire(Unit(), absl::StrCat("thief ", i), absl::Seconds(1));
        ASSERT_THAT(lease, IsOk());
        if (!lease->has_value()) return;
        ++num_winners;
        EXPECT_THAT(own.CheckOurs(**lease), IsOk());
      });
    }
    for (std::thread& thief : thieves) thief.join();
    EXPECT_EQ(num_winners, 1) << "round " << round;
  }
  // Nothing is left but the lease and the lock.
  size_t num_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_.path())) ++num_files;
  EXPECT_EQ(num_files, 2u);
}

}  // namespace
}  // namespace afterimage
