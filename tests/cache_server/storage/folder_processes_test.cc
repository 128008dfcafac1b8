// Several processes on one cache folder, and processes that are killed.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <random>

#include "absl/time/clock.h"
#include "cache_server/storage/contribution.h"
#include "cache_server/storage/folder_catalog.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache_server/storage/cache_fixture.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using testing::CountStates;
using testing::FillSet;
using testing::FixtureFails;
using testing::FixtureRequest;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::MakeSyntheticDescription;
using testing::MakeSyntheticManifest;
using ::testing::Not;
using ::testing::SizeIs;
using testing::StateCounts;
using testing::TemporaryFolder;
using testing::WholeSet;

// A running fill_cache_worker.
class Worker {
 public:
  Worker(const std::filesystem::path& cache, const std::string& name, uint64_t num_images,
         uint32_t num_view_seeds, int milliseconds_per_unit) {
    const std::string program = AFTERIMAGE_BINARY_DIR "/tests/bin/fill_cache_worker";
    const std::vector<std::string> arguments = {program,
                                                cache.string(),
                                                name,
                                                std::to_string(num_images),
                                                std::to_string(num_view_seeds),
                                                std::to_string(milliseconds_per_unit)};
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      execv(program.c_str(), argv.data());
      _exit(127);
    }
  }
  ~Worker() {
    if (pid_ > 0) Kill();
  }

  void Kill() {
    kill(pid_, SIGKILL);
    Wait();
  }
  // The exit status, or minus the signal.
  int Wait() {
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

class FolderProcessesTest : public ::testing::Test {
 protected:
  void ExpectWhole(const Manifest& manifest, uint32_t num_view_seeds) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
    EXPECT_EQ(CountStates(*set.store, manifest, num_view_seeds), WholeSet(manifest, num_view_seeds));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VerifyReport report, catalog->VerifySet(id_));
    EXPECT_TRUE(report.is_clean());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetFileStatistics statistics, catalog->FileStatistics(id_));
    EXPECT_EQ(statistics.files_per_level.front(), 0u);
    EXPECT_THAT(WaitingContributions(SetFolder(path_, id_).incoming()), testing::IsOkAndHolds(IsEmpty()));
    EXPECT_FALSE(std::filesystem::exists(SetFolder(path_, id_).incidents()));
  }

  TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "cache";
  const SetDescription description_ = MakeSyntheticDescription();
  const Digest256 id_ = description_.set.Id();
};

TEST_F(FolderProcessesTest, ThreeProcessesFillOneSetWhileAReaderLooksOn) {
  const Manifest manifest = MakeSyntheticManifest(120);
  constexpr uint32_t kSeeds = 8;
  Worker a(path_, "a", 120, kSeeds, 20);
  Worker b(path_, "b", 120, kSeeds, 20);
  Worker c(path_, "c", 120, kSeeds, 20);
  const auto spec = SetFolder(path_, id_).spec();
  for (int i = 0; i < 500 && !std::filesystem::exists(spec); ++i) absl::SleepFor(absl::Milliseconds(10));
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
    uint64_t seen = 0;
    const uint64_t whole = uint64_t{120} * kSeeds;
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (seen < whole && absl::Now() < deadline) {
      AFTERIMAGE_ASSERT_OK(set.store->Refresh());
      const StateCounts counts = CountStates(*set.store, manifest, kSeeds);
      ASSERT_THAT(counts.problems, IsEmpty());
      ASSERT_EQ(counts.damaged, 0u);
      ASSERT_GE(counts.ok + counts.failed, seen);
      seen = counts.ok + counts.failed;
    }
    EXPECT_EQ(seen, whole);
  }
  EXPECT_EQ(a.Wait(), 0);
  EXPECT_EQ(b.Wait(), 0);
  EXPECT_EQ(c.Wait(), 0);
  ExpectWhole(manifest, kSeeds);
}

TEST_F(FolderProcessesTest, KilledAtAnyTimeTheCacheOpensAndTheNextWorkerGoesOn) {
  const Manifest manifest = MakeSyntheticManifest(200);
  constexpr uint32_t kSeeds = 6;
  std::mt19937 random(20);  // the times vary from run to run anyway
  for (int round = 0; round < 12; ++round) {
    Worker worker(path_, "victim", 200, kSeeds, 0);
    absl::SleepFor(absl::Milliseconds(15 + random() % 120));
    worker.Kill();
    if (!std::filesystem::exists(SetFolder(path_, id_).spec())) continue;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
    const StateCounts counts = CountStates(*set.store, manifest, kSeeds);
    EXPECT_EQ(counts.damaged, 0u);
    EXPECT_THAT(counts.problems, IsEmpty());
  }
  Worker last(path_, "last", 200, kSeeds, 0);
  EXPECT_EQ(last.Wait(), 0);
  ExpectWhole(manifest, kSeeds);
}

TEST_F(FolderProcessesTest, AKilledIngesterIsReplacedByAContributor) {
  const Manifest manifest = MakeSyntheticManifest(80);
  constexpr uint32_t kSeeds = 8;
  Worker holder(path_, "holder", 80, kSeeds, 60);
  const auto lock = SetFolder(path_, id_).database() / "CURRENT";
  for (int i = 0; i < 500 && !std::filesystem::exists(lock); ++i) absl::SleepFor(absl::Milliseconds(10));
  Worker guest(path_, "guest", 80, kSeeds, 60);
  absl::SleepFor(absl::Milliseconds(300));
  holder.Kill();
  EXPECT_EQ(guest.Wait(), 0);
  ExpectWhole(manifest, kSeeds);
}

TEST_F(FolderProcessesTest, LeftoversOfADeadWriterAreRemovedAndThoseOfALivingOneKept) {
  const SetFolder folder(path_, id_);
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_, {.create = true}));
    AFTERIMAGE_ASSERT_OK(catalog->CreateSet(description_));
  }
  const auto make_leftover = [&](const std::string& name) {
    std::filesystem::create_directories(folder.incoming() / name);
    std::ofstream(folder.incoming() / name / Contribution::kAliveFile).flush();
    std::ofstream(folder.incoming() / name / "00000000.sst") << "half a file";
  };
  make_leftover("unit.dead-1.tmp");
  make_leftover("unit.living-2.tmp");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const auto alive, FileLock::Try(folder.incoming() / "unit.living-2.tmp" / Contribution::kAliveFile));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kContribute));
  EXPECT_FALSE(std::filesystem::exists(folder.incoming() / "unit.dead-1.tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder.incoming() / "unit.living-2.tmp"));
}

TEST_F(FolderProcessesTest, AContributionThatWasDamagedOnTheWayIsRefusedAndComputedAgain) {
  const Manifest manifest = MakeSyntheticManifest(20);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      auto first, FolderCatalog::Open(path_, {.create = true, .poll_interval = absl::Hours(1)}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto second,
                                  FolderCatalog::Open(path_, {.poll_interval = absl::Hours(1)}));
  AFTERIMAGE_ASSERT_OK(first->PutManifest(manifest));
  AFTERIMAGE_ASSERT_OK(first->CreateSet(description_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet holder, first->OpenSet(id_, OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet guest, second->OpenSet(id_, OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult claim,
                                  guest.ledger->Claim(FixtureRequest(manifest.digest(), 2)));
  ASSERT_THAT(claim.units, SizeIs(1));
  AFTERIMAGE_ASSERT_OK(testing::PublishClaimed(guest, claim.units[0], FixtureFails));
  const SetFolder folder(path_, id_);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto waiting, WaitingContributions(folder.incoming()));
  ASSERT_THAT(waiting, SizeIs(1));
  std::fstream file(waiting[0] / "00000000.sst", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(5000);
  file.put('!');
  file.close();
  AFTERIMAGE_ASSERT_OK(holder.store->Refresh());
  EXPECT_TRUE(std::filesystem::is_empty(folder.incoming()));
  EXPECT_THAT(ReadFile(folder.incidents()), testing::IsOkAndHolds(::testing::HasSubstr("refused")));
  AFTERIMAGE_ASSERT_OK(FillSet(holder, manifest.digest(), 2, FixtureFails));
  EXPECT_EQ(CountStates(*holder.store, manifest, 2), WholeSet(manifest, 2));
}

}  // namespace
}  // namespace afterimage
