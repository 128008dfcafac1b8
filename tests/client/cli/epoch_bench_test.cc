#include "client/cli/epoch_bench.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "cache_server/service/cache_server.h"
#include "client/open_cache.h"
#include "core/base/stop_signal.h"
#include "core/order/epoch_reader.h"
#include "gmock/gmock.h"
#include "tests/testing/observed_catalog.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::cli {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TemporaryFolder;

constexpr uint64_t kNumPictures = 60;
constexpr uint32_t kViewSeeds = 2;

bool SomeFail(const RecordKey& key) { return key.image.bytes[0] % 16 == 0; }

// A folder with a filled set, and two servers of it.
class EpochBenchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = (folder_ / "cache").string();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(cache_, OpenCache(path, {.create = true}));
    const SetDescription description = testing::MakeSyntheticDescription();
    const Manifest manifest = testing::MakeSyntheticManifest(kNumPictures);
    AFTERIMAGE_ASSERT_OK(cache_.catalog->CreateSet(description));
    AFTERIMAGE_ASSERT_OK(cache_.catalog->PutManifest(manifest));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(set_,
                                    cache_.catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(testing::FillSet(set_, manifest.digest(), kViewSeeds, SomeFail));
    tcp_ = Serve("127.0.0.1:0");
    socket_ = Serve("unix:" + (folder_ / "socket").string());

    options_.cache = path;
    EpochRequest& request = options_.request;
    request.set_id = description.set.Id();
    request.order.manifest = manifest.digest();
    request.order.num_occurrences = kNumPictures;
    request.order.num_view_seeds = kViewSeeds;
    request.order.mask.num_visible = 5;
    request.order.order_seed = 11;
    request.global_batch = 13;
    request.selection.tokens = Selection::Tokens::kMask;
    options_.num_epochs = 3;
  }

  std::unique_ptr<CacheServer> Serve(const std::string& listen) {
    absl::StatusOr<std::unique_ptr<CacheServer>> server =
        CacheServer::Start(cache_.catalog.get(), cache_.epoch_source.get(), {.listen = listen});
    EXPECT_THAT(server, IsOk());
    return server.ok() ? *std::move(server) : nullptr;
  }

  static std::vector<std::string> Digests(const EpochBenchReport& report) {
    std::vector<std::string> digests;
    for (const EpochDigest& epoch : report.digests) digests.push_back(epoch.digest.Hex());
    return digests;
  }

  const TemporaryFolder folder_;
  OpenedCache cache_;
  OpenedSet set_;
  std::unique_ptr<CacheServer> tcp_;
  std::unique_ptr<CacheServer> socket_;
  EpochBenchOptions options_;
};

TEST_F(EpochBenchTest, TheDigestIsTheSameForAnyNumberOfRanksAndAnyAddress) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport one, RunEpochBench(options_));
  const std::vector<std::string> wanted = Digests(one);
  ASSERT_EQ(wanted.size(), 3);
  EXPECT_NE(wanted[0], wanted[2]);  // the same view seed, another order
  for (const std::string& address : {options_.cache, tcp_->address(), socket_->address()}) {
    for (const uint32_t num_ranks : {1, 2, 3, 7, 8}) {
      SCOPED_TRACE(address + ", ranks: " + std::to_string(num_ranks));
      EpochBenchOptions options = options_;
      options.cache = address;
      options.num_ranks = num_ranks;
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport report, RunEpochBench(options));
      EXPECT_EQ(Digests(report), wanted);
      EXPECT_EQ(report.records, one.records);
      EXPECT_EQ(report.failed, one.failed);
      EXPECT_EQ(report.bytes, one.bytes);
      EXPECT_EQ(report.server.has_value(), address != options_.cache);
    }
  }
}

TEST_F(EpochBenchTest, TheDigestIsOfTheRecordsAndNotOfThePartThatTravels) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport whole, RunEpochBench(options_));
  EpochBenchOptions options = options_;
  options.request.selection = {.levels = {4}, .pixels = false};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport part, RunEpochBench(options));
  EXPECT_EQ(Digests(part), Digests(whole));
  EXPECT_NE(part.bytes, whole.bytes);

  options.request.order.order_seed = 12;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport other, RunEpochBench(options));
  EXPECT_NE(Digests(other), Digests(whole));
}

TEST_F(EpochBenchTest, CountsEveryRecordOnce) {
  options_.cache = tcp_->address();
  options_.num_ranks = 3;
  options_.verify = true;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport report, RunEpochBench(options_));
  const uint64_t steps = kNumPictures / options_.request.global_batch;
  EXPECT_EQ(report.records, 3 * steps * options_.request.global_batch);
  EXPECT_EQ(report.digests.at(0).steps, steps);
  EXPECT_EQ(report.missing, 0);
  EXPECT_GT(report.bytes, 0);
  EXPECT_GT(report.client_peak_bytes, 0);
  ASSERT_TRUE(report.server.has_value());
  EXPECT_GT(report.server->process.peak_resident_bytes, 0);  // in this test the same process
  EXPECT_EQ(report.server->sent_bytes, report.bytes);
  EXPECT_EQ(report.server->shared_bytes, 0);  // by TCP
  EXPECT_GT(report.server->store_wait_seconds + report.server->queue_wait_seconds, 0);
  absl::Duration parts;
  for (const StallRow& row : report.stalls) parts += row.times.Total();
  EXPECT_NEAR(absl::ToDoubleSeconds(parts), absl::ToDoubleSeconds(report.opening + report.waiting), 1e-6);
  EXPECT_GT(report.waiting, absl::ZeroDuration());
  EXPECT_GT(report.working, absl::ZeroDuration());
  EXPECT_GT(report.first_batch, absl::ZeroDuration());
  EXPECT_LE(report.first_batch, report.wall);
}

TEST_F(EpochBenchTest, CountsWhatWasHedgedByTheServerThatWasSlow) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport one, RunEpochBench(options_));
  EXPECT_TRUE(one.hedged.empty());
  EXPECT_EQ(one.hedges.asked, 0);
  // Its epochs are slow; records by key, which it is not asked for, would not be.
  testing::ObservedCatalog slow(cache_.catalog.get());
  slow.observer().before_record = [](const RecordKey&) {
    absl::SleepFor(absl::Milliseconds(40));
    return absl::OkStatus();
  };
  EpochReader reader(&slow, {.num_threads = 1});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const auto slow_server, CacheServer::Start(cache_.catalog.get(), &reader, {.listen = "127.0.0.1:0"}));
  EpochBenchOptions options = options_;
  options.cache = tcp_->address() + "," + slow_server->address();
  options.hedge_after = absl::Milliseconds(10);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport report, RunEpochBench(options));
  EXPECT_EQ(Digests(report), Digests(one));
  ASSERT_TRUE(report.hedged.contains(slow_server->address()));
  EXPECT_GT(report.hedged.at(slow_server->address()), 0);
  EXPECT_EQ(report.hedges.won, report.hedged.at(slow_server->address()));
  EXPECT_GE(report.hedges.asked, report.hedges.won);
}

TEST_F(EpochBenchTest, AServerThatSendsNothingIsWaitedForWithAMessage) {
  testing::ObservedCatalog slow(cache_.catalog.get());
  std::atomic<bool> may_read = false;
  slow.observer().before_record = [&](const RecordKey&) {
    while (!may_read) absl::SleepFor(absl::Milliseconds(1));
    return absl::OkStatus();
  };
  EpochReader reader(&slow, {.num_threads = 1});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const auto server, CacheServer::Start(cache_.catalog.get(), &reader, {.listen = "127.0.0.1:0"}));
  std::string told;
  EpochBenchOptions options = options_;
  options.cache = server->address();
  options.message_after = absl::Milliseconds(20);
  options.message = [&](const std::string& text) {
    told = text;
    may_read = true;
  };
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport report, RunEpochBench(options));
  EXPECT_GT(report.records, 0);
  EXPECT_THAT(told, HasSubstr("for the next record of " + server->address()));
}

TEST_F(EpochBenchTest, StepsLimitWhatIsReadAndTheDigestSaysOfHowMany) {
  options_.num_epochs = 1;
  options_.steps = 2;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport two, RunEpochBench(options_));
  EXPECT_EQ(two.records, 2 * options_.request.global_batch);
  EXPECT_EQ(two.digests.at(0).steps, 2);
  options_.steps = 1'000;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const EpochBenchReport all, RunEpochBench(options_));
  EXPECT_EQ(all.digests.at(0).steps, kNumPictures / options_.request.global_batch);
}

TEST_F(EpochBenchTest, TellsWhatIsWrongWithTheRequest) {
  EpochBenchOptions options = options_;
  options.request.global_batch = kNumPictures + 1;
  EXPECT_THAT(RunEpochBench(options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("60 pictures")));
  for (const std::string& address : {options_.cache, tcp_->address()}) {
    options = options_;
    options.cache = address;
    options.request.selection.levels = {17};
    options.num_ranks = 2;
    EXPECT_THAT(RunEpochBench(options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("17")));
  }
}

TEST_F(EpochBenchTest, AStopEndsItInGoodOrder) {
  RequestStop();
  EXPECT_THAT(RunEpochBench(options_), StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped after")));
  ResetStopForTest();
  EXPECT_THAT(RunEpochBench(options_), IsOk());
}

}  // namespace
}  // namespace afterimage::cli
