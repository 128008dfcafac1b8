#include "cache_server/service/open_sets.h"

#include <atomic>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "core/feature/in_memory_cache.h"
#include "gmock/gmock.h"
#include "tests/testing/observed_catalog.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using testing::IsOk;

// Opening one set waits until the test lets it.
class SlowCatalog : public testing::ObservedCatalog {
 public:
  using ObservedCatalog::ObservedCatalog;
  absl::StatusOr<OpenedSet> OpenSet(const Digest256& set_id, OpenMode mode) override {
    ++num_opened;
    if (set_id == slow) {
      began.Notify();
      go_on.WaitForNotification();
    }
    return ObservedCatalog::OpenSet(set_id, mode);
  }

  Digest256 slow;
  absl::Notification began, go_on;
  std::atomic<int> num_opened = 0;
};

class OpenSetsTest : public ::testing::Test {
 protected:
  Digest256 MakeSet(uint32_t width) {
    const SetDescription description = testing::MakeSyntheticDescription({.width = width});
    EXPECT_THAT(memory_.CreateSet(description).status(), IsOk());
    return description.set.Id();
  }

  InMemoryFeatureCatalog memory_;
  SlowCatalog catalog_{&memory_};
  OpenSets sets_{&catalog_};
};

TEST_F(OpenSetsTest, ASetThatOpensSlowlyKeepsNobodyWaitingWhoWantsAnother) {
  const Digest256 quick = MakeSet(8);
  catalog_.slow = MakeSet(16);
  std::thread slow([&] { EXPECT_THAT(sets_.Get(catalog_.slow, OpenMode::kRead).status(), IsOk()); });
  catalog_.began.WaitForNotification();
  EXPECT_THAT(sets_.Get(quick, OpenMode::kRead).status(), IsOk());  // hangs if it is kept waiting
  catalog_.go_on.Notify();
  slow.join();
}

TEST_F(OpenSetsTest, WhoWaitsForASetSharesWhatWasOpened) {
  catalog_.slow = MakeSet(8);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back(
        [&] { EXPECT_THAT(sets_.Get(catalog_.slow, OpenMode::kContribute).status(), IsOk()); });
  }
  catalog_.began.WaitForNotification();
  catalog_.go_on.Notify();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(catalog_.num_opened, 1);
}

TEST_F(OpenSetsTest, ASetThatIsForgottenIsOpenedAnew) {
  const Digest256 set = MakeSet(8);
  EXPECT_THAT(sets_.Get(set, OpenMode::kRead).status(), IsOk());
  EXPECT_THAT(sets_.Get(set, OpenMode::kRead).status(), IsOk());
  EXPECT_EQ(catalog_.num_opened, 1);
  sets_.Forget(set);
  EXPECT_THAT(sets_.Get(set, OpenMode::kRead).status(), IsOk());
  EXPECT_EQ(catalog_.num_opened, 2);
}

}  // namespace
}  // namespace afterimage
