#include "client/remote/wait_teller.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/remote/remote_catalog.h"
#include "gmock/gmock.h"
#include "tests/cache_server/service/served_cache.h"
#include "tests/testing/observed_catalog.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr absl::Duration kInterval = absl::Milliseconds(40);

class WaitTellerTest : public ::testing::Test {
 protected:
  std::function<void(const std::string&)> Message() {
    return [this](const std::string& text) {
      std::lock_guard lock(mutex_);
      absl::StrAppend(&told_, text, "\n");
      ++num_told_;
    };
  }
  std::string told() {
    std::lock_guard lock(mutex_);
    return told_;
  }
  void WaitForMessages(int count) const {
    for (int i = 0; i < 10'000 && num_told_ < count; ++i) absl::SleepFor(absl::Milliseconds(1));
    ASSERT_GE(num_told_, count);
  }

  std::atomic<int> num_told_ = 0;
  std::mutex mutex_;
  std::string told_;
};

TEST_F(WaitTellerTest, AWaitIsToldAgainAndAgainAndOnesThatAreOverAreNot) {
  WaitTeller teller(kInterval, Message());
  const absl::Time begin = absl::Now();
  {
    const WaitTeller::Wait first(teller, "the first");
    WaitForMessages(2);
    EXPECT_GE(absl::Now() - begin, 2 * kInterval);
  }
  const int before = num_told_;
  const WaitTeller::Wait second(teller, "the second");
  WaitForMessages(before + 1);
  EXPECT_THAT(told(),
              AllOf(HasSubstr("waiting since "), HasSubstr(" for the first\n"), HasSubstr("the second")));
}

TEST_F(WaitTellerTest, WhatIsShortIsNotTold) {
  WaitTeller teller(absl::Hours(1), Message());
  { const WaitTeller::Wait wait(teller, "nothing"); }
  const WaitTeller::Wait wait(teller, "nothing");
  absl::SleepFor(absl::Milliseconds(10));
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(WaitTellerTest, AReaderSaysWhichServerItWaitsFor) {
  InMemoryFeatureCatalog memory;
  testing::ObservedCatalog slow(&memory);
  std::atomic<bool> may_read = false;
  slow.observer().before_record = [&](const RecordKey&) {
    while (!may_read) absl::SleepFor(absl::Milliseconds(1));
    return absl::OkStatus();
  };
  const SetDescription description = testing::MakeSyntheticDescription();
  const Manifest manifest = testing::MakeSyntheticManifest(2);
  AFTERIMAGE_ASSERT_OK(memory.CreateSet(description));
  AFTERIMAGE_ASSERT_OK(memory.PutManifest(manifest));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet filled,
                                  memory.OpenSet(description.set.Id(), OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK(testing::FillSet(filled, manifest.digest(), 1));
  EpochReader source(&slow, {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto server, CacheServer::Start(&slow, &source, {}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<Connection> connection,
      Connection::Open(server->address(), {.message_after = kInterval, .message = Message()}));
  RemoteCatalog catalog(connection);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  catalog.OpenSet(description.set.Id(), OpenMode::kRead));
  std::thread reader([&] {
    EXPECT_THAT(ReadOne(*set.store, {manifest.keys().front(), 0}), testing::IsOk());
  });
  WaitForMessages(1);
  may_read = true;
  reader.join();
  EXPECT_THAT(told(), HasSubstr(absl::StrCat("for records of the server at ", server->address())));
}

}  // namespace
}  // namespace afterimage
