#include "cache_server/service/set_watch.h"

#include <atomic>
#include <map>
#include <mutex>

#include "absl/time/clock.h"
#include "core/feature/in_memory_cache.h"
#include "gmock/gmock.h"
#include "tests/testing/observed_catalog.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

// Sets may be hidden, damaged, and the whole out of reach.
class TroubledCatalog : public testing::ObservedCatalog {
 public:
  using ObservedCatalog::ObservedCatalog;
  absl::StatusOr<std::vector<SetSummary>> ListSets() override {
    if (away) return absl::UnavailableError("no disk");
    if (hidden) return std::vector<SetSummary>();
    return ObservedCatalog::ListSets();
  }
  absl::StatusOr<OpenedSet> OpenSet(const Digest256& set_id, OpenMode mode) override {
    if (damaged) return absl::DataLossError("cut short");
    return ObservedCatalog::OpenSet(set_id, mode);
  }

  std::atomic<bool> away = false, hidden = false, damaged = false;
};

class SetWatchTest : public ::testing::Test {
 protected:
  SetWatch::Report Report() {
    return [this](const std::string& service, bool serving) {
      std::lock_guard lock(mutex_);
      health_[service] = serving;
    };
  }
  bool Becomes(const std::string& service, bool serving) {
    for (int i = 0; i < 500; ++i) {
      {
        std::lock_guard lock(mutex_);
        const auto known = health_.find(service);
        if (known != health_.end() && known->second == serving) return true;
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }

  InMemoryFeatureCatalog memory_;
  TroubledCatalog catalog_{&memory_};
  OpenSets sets_{&catalog_};
  std::mutex mutex_;
  std::map<std::string, bool> health_;
};

TEST_F(SetWatchTest, SetsAppearGetNamesAndDisappear) {
  SetWatch watch(&catalog_, &sets_, absl::Milliseconds(10), Report());
  EXPECT_THAT(watch.sets(), SizeIs(0));
  const SetDescription description = testing::MakeSyntheticDescription();
  const Digest256 id = description.set.Id();
  AFTERIMAGE_ASSERT_OK(catalog_.CreateSet(description));
  EXPECT_TRUE(Becomes(id.Hex(), true));
  AFTERIMAGE_ASSERT_OK(catalog_.SetName("mine", id, false));
  EXPECT_TRUE(Becomes("mine", true));
  EXPECT_THAT(watch.sets(), SizeIs(1));
  catalog_.hidden = true;
  EXPECT_TRUE(Becomes(id.Hex(), false));
  EXPECT_TRUE(Becomes("mine", false));
}

TEST_F(SetWatchTest, ADamagedSetIsNotServingAndSaysWhy) {
  const SetDescription description = testing::MakeSyntheticDescription();
  AFTERIMAGE_ASSERT_OK(catalog_.CreateSet(description));
  catalog_.damaged = true;
  SetWatch watch(&catalog_, &sets_, absl::Milliseconds(10), Report());
  EXPECT_TRUE(Becomes(description.set.Id().Hex(), false));
  ASSERT_THAT(watch.sets(), SizeIs(1));
  EXPECT_THAT(watch.sets()[0].status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("cut short")));
  EXPECT_THAT(watch.status(), IsOk());
  catalog_.damaged = false;  // restored from a copy
  EXPECT_TRUE(Becomes(description.set.Id().Hex(), true));
}

TEST_F(SetWatchTest, ACatalogOutOfReachIsToldAndChangesNothing) {
  AFTERIMAGE_ASSERT_OK(catalog_.CreateSet(testing::MakeSyntheticDescription()));
  SetWatch watch(&catalog_, &sets_, absl::Milliseconds(10), Report());
  catalog_.away = true;
  for (int i = 0; i < 500 && watch.status().ok(); ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_THAT(watch.status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no disk")));
  EXPECT_THAT(watch.sets(), SizeIs(1));
  watch.Stop();
}

}  // namespace
}  // namespace afterimage
