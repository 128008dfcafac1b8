// Several programs on one cache at once.
#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using testing::Arguments;
using testing::ChildProcess;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using testing::WriteImages;

constexpr int kNumImages = 64;

class ManyProcessesTest : public ProgramsTest {
 protected:
  ManyProcessesTest() { WriteImages(images_, kNumImages); }

  static Json SummaryOf(const Finished& precompute) {
    EXPECT_EQ(precompute.status, 0) << precompute.Text();
    for (const std::string& line : std::vector<std::string>(absl::StrSplit(precompute.out, '\n'))) {
      const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (json.is_object() && json.value("event", "") == "summary") return json;
    }
    ADD_FAILURE() << "no summary in " << precompute.Text();
    return {{"records", 0}, {"duplicates_equal", 0}, {"duplicates_different", 0}};
  }
  static void ExpectWhole(const std::string& cache, uint64_t num_seeds) {
    const Json counts = Verify(cache);
    ASSERT_TRUE(counts.is_object());
    EXPECT_EQ(counts["ok"], kNumImages * num_seeds);
    EXPECT_EQ(counts["missing"], 0);
    EXPECT_EQ(counts["damaged"], 0) << counts["damage"].dump();
  }
  // Two workers at once: each record is computed once, by one of them.
  void TwoWorkersShare(const std::string& cache) const {
    constexpr uint64_t kNumSeeds = 12;
    const Arguments seeds = {"--view-seeds", std::to_string(kNumSeeds)};
    ChildProcess first(PrecomputeCommand(cache, seeds));
    ChildProcess second(PrecomputeCommand(cache, seeds));
    const Json one = SummaryOf(first.Wait());
    const Json two = SummaryOf(second.Wait());
    EXPECT_EQ(one["records"].get<uint64_t>() + two["records"].get<uint64_t>(), kNumImages * kNumSeeds);
    for (const Json& summary : {one, two}) {
      EXPECT_EQ(summary["duplicates_equal"], 0);
      EXPECT_EQ(summary["duplicates_different"], 0);
      EXPECT_EQ(summary["units_lost"], 0);
    }
    ExpectWhole(cache, kNumSeeds);
    const Json info = Info(cache);
    EXPECT_EQ(info["records"], kNumImages * kNumSeeds);
    EXPECT_EQ(info["view_seeds"], kNumSeeds);
  }
};

TEST_F(ManyProcessesTest, TwoWorkersOnAFolderComputeEachRecordOnce) { TwoWorkersShare(Path("cache")); }

TEST_F(ManyProcessesTest, TwoWorkersOfAServerComputeEachRecordOnce) {
  Server server(Path("cache"));
  TwoWorkersShare(server.address());
}

TEST_F(ManyProcessesTest, AWorkerOnTheFolderOfAServerContributesToIt) {
  Server server(Path("cache"));
  ASSERT_EQ(Precompute(server.address()).status, 0);
  const Json summary = SummaryOf(Precompute(Path("cache"), {"--view-seeds", "3"}));
  EXPECT_EQ(summary["records"], 2 * kNumImages);
  // The server takes in what was contributed.
  ChildProcess unused(
      Command("afterimage-server", {"--cache", Path("cache"), "--listen", "unix:" + Path("unused")}));
  ASSERT_TRUE(WaitForRecords(server.address(), 3 * kNumImages, unused));
  ExpectWhole(server.address(), 3);
}

TEST_F(ManyProcessesTest, InfoAndFourRanksReadAFolderThatIsBeingWritten) {
  constexpr uint64_t kNumSeeds = 40;
  ChildProcess worker(
      PrecomputeCommand(Path("cache"), {"--view-seeds", std::to_string(kNumSeeds), "--seed-major"}));
  ASSERT_TRUE(WaitForRecords(Path("cache"), kNumImages, worker)) << worker.Err();
  const Arguments one_seed = {"--view-seeds", "1"};
  std::vector<std::unique_ptr<ChildProcess>> ranks;
  for (int rank = 0; rank < 4; ++rank) {
    ranks.push_back(std::make_unique<ChildProcess>(
        PretrainCommand({"--cache", Path("cache")}, absl::StrCat("rank", rank), one_seed)));
  }
  const Json during = Info(Path("cache"));
  EXPECT_LT(during["records"].get<uint64_t>(), kNumImages * kNumSeeds) << "the worker was done too early";
  for (const auto& rank : ranks) {
    const Finished finished = rank->Wait();
    EXPECT_EQ(finished.status, 0) << finished.Text();
  }
  EXPECT_TRUE(worker.Running()) << "the worker was done too early";
  const Finished written = worker.Wait();
  ASSERT_EQ(written.status, 0) << written.Text();
  ExpectWhole(Path("cache"), kNumSeeds);
  ASSERT_EQ(Pretrain(Path("cache"), "after", one_seed).status, 0);
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(Losses(absl::StrCat("rank", rank)), Losses("after"));
  EXPECT_EQ(Losses("after").size(), 4u * 4u + 4u);
}

}  // namespace
}  // namespace afterimage
