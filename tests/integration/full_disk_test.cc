// No space for more: a clear end, nothing lost, and on it goes when there is space.
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using testing::Arguments;
using testing::ChildProcess;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using testing::WriteImages;

constexpr int kNumImages = 40;
constexpr uint64_t kNumSeeds = 8;  // 320 records of 0.1 MB
const Arguments kSeeds = {"--view-seeds", "8", "--seed-major"};

class FullDiskTest : public ProgramsTest {
 protected:
  FullDiskTest() { WriteImages(images_, kNumImages); }
  ~FullDiskTest() override {
    if (mounted_) umount2(disk_.c_str(), MNT_DETACH);
  }
  // A file system of so many megabytes at Path("disk"); false without the right to make one.
  bool MountDisk(int megabytes) {
    std::filesystem::create_directory(disk_);
    mounted_ = mount("tmpfs", disk_.c_str(), "tmpfs", 0, absl::StrCat("size=", megabytes, "m").c_str()) == 0;
    return mounted_;
  }
  bool GrowDisk(int megabytes) const {
    return mount("tmpfs", disk_.c_str(), "tmpfs", MS_REMOUNT,
                 absl::StrCat("size=", megabytes, "m").c_str()) == 0;
  }
  // Some records, whole seeds of them, all sound.
  static void ExpectPartButClean(const std::string& cache) {
    const Json info = Info(cache);
    ASSERT_TRUE(info.is_object());
    EXPECT_GT(info["records"].get<uint64_t>(), 0u);
    EXPECT_LT(info["records"].get<uint64_t>(), kNumImages * kNumSeeds);
    EXPECT_EQ(info["records"].get<uint64_t>() % kNumImages, 0u);
    const Json counts = Verify(cache);
    ASSERT_TRUE(counts.is_object());
    EXPECT_EQ(counts["ok"], info["records"]);
    EXPECT_EQ(counts["damaged"], 0) << counts["damage"].dump();
  }
  static void ExpectWhole(const std::string& cache) {
    const Json counts = Verify(cache);
    ASSERT_TRUE(counts.is_object());
    EXPECT_EQ(counts["ok"], kNumImages * kNumSeeds);
    EXPECT_EQ(counts["missing"], 0);
    EXPECT_EQ(counts["damaged"], 0) << counts["damage"].dump();
  }

  const std::string disk_ = Path("disk");
  bool mounted_ = false;
};

TEST_F(FullDiskTest, AFullDiskEndsPrecomputeClearlyAndItGoesOnAfterSpaceIsMade) {
  if (!MountDisk(16)) GTEST_SKIP() << "cannot mount a small tmpfs (are we root?): " << std::strerror(errno);
  const std::string cache = disk_ + "/cache";
  const Finished full = Precompute(cache, kSeeds);
  EXPECT_EQ(full.status, 1) << full.Text();
  EXPECT_THAT(full.err, AnyOf(HasSubstr("disk full"), HasSubstr("No space left")));
  EXPECT_THAT(full.err, HasSubstr("everything published is kept"));
  ExpectPartButClean(cache);
  ASSERT_TRUE(GrowDisk(200));
  const Finished rest = Precompute(cache, kSeeds);
  ASSERT_EQ(rest.status, 0) << rest.Text();
  ExpectWhole(cache);
}

TEST_F(FullDiskTest, AServersFullDiskIsToldToTheWorker) {
  if (!MountDisk(16)) GTEST_SKIP() << "cannot mount a small tmpfs (are we root?): " << std::strerror(errno);
  const std::string cache = disk_ + "/cache";
  Server server(cache);
  const Finished full = Precompute(server.address(), kSeeds);
  EXPECT_EQ(full.status, 1) << full.Text();
  EXPECT_THAT(full.err, AnyOf(HasSubstr("disk full"), HasSubstr("No space left")));
  ExpectPartButClean(server.address());  // it goes on serving
  ASSERT_TRUE(GrowDisk(200));
  const Finished rest = Precompute(server.address(), kSeeds);
  ASSERT_EQ(rest.status, 0) << rest.Text();
  ExpectWhole(server.address());
}

// A student whose checkpoint has 1.6 MB.
class FullDiskTrainingTest : public FullDiskTest {
 protected:
  // A cache elsewhere, and a disk on which all but a checkpoint has room.
  bool Prepare() {
    if (!MountDisk(1)) return false;
    EXPECT_EQ(Precompute(Path("cache"), {"--view-seeds", "1"}).status, 0);
    return true;
  }
  const Arguments run_ = {"--epochs", "400", "--image-every", "50epochs"};
};

TEST_F(FullDiskTrainingTest, TheRunGoesOnSaysSoAndSavesWhenThereIsSpaceAgain) {
  if (!Prepare()) GTEST_SKIP() << "cannot mount a small tmpfs (are we root?): " << std::strerror(errno);
  ASSERT_EQ(Pretrain(Path("cache"), "whole", run_).status, 0);
  ChildProcess trainer(PretrainCommand({"--cache", Path("cache")}, "disk/run", run_));
  ASSERT_TRUE(trainer.WaitForText(" wanted, ")) << trainer.Err();
  EXPECT_THAT(trainer.Err(), AllOf(HasSubstr("checkpoint-"), HasSubstr(" free)"),
                                   HasSubstr("the run goes on and tries again at its next checkpoint")));
  EXPECT_TRUE(trainer.Running());
  ASSERT_TRUE(GrowDisk(64));
  ASSERT_TRUE(trainer.WaitForText("checkpoints are being written again")) << trainer.Err();
  const Finished done = trainer.Wait();
  ASSERT_EQ(done.status, 0) << done.Text();
  EXPECT_EQ(Losses("disk/run"), Losses("whole"));
  EXPECT_TRUE(std::filesystem::exists(Path("disk/run/best.safetensors")));
}

TEST_F(FullDiskTrainingTest, ALastStateThatCannotBeSavedIsAnErrorAndNothingHalfWrittenStays) {
  if (!Prepare()) GTEST_SKIP() << "cannot mount a small tmpfs (are we root?): " << std::strerror(errno);
  const Finished full = Pretrain(Path("cache"), "disk/run", {"--epochs", "4"});
  EXPECT_EQ(full.status, 1) << full.Text();
  EXPECT_THAT(full.err, AllOf(HasSubstr("the state at the end could not be saved"), HasSubstr(" wanted, "),
                              HasSubstr("no checkpoint could be written")));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Path("disk/run")))
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  ASSERT_TRUE(GrowDisk(64));
  ASSERT_EQ(Pretrain(Path("cache"), "disk/run", {"--epochs", "4"}).status, 0);
}

TEST_F(FullDiskTest, TheQuotaIsAHardStopWithItsNumberInTheText) {
  const Arguments with_quota = {"--view-seeds", "8", "--seed-major", "--quota", "16MB"};
  const Finished stopped = Precompute(Path("cache"), with_quota);
  EXPECT_EQ(stopped.status, 1) << stopped.Text();
  EXPECT_THAT(stopped.err, AllOf(HasSubstr("quota of 16 MB reached"),
                                 HasSubstr("everything published is kept: raise the quota")));
  ExpectPartButClean(Path("cache"));
  EXPECT_EQ(Precompute(Path("cache"), with_quota).status, 1);  // no less the second time
  ExpectPartButClean(Path("cache"));
  const Finished rest = Precompute(Path("cache"), kSeeds);
  ASSERT_EQ(rest.status, 0) << rest.Text();
  ExpectWhole(Path("cache"));
}

}  // namespace
}  // namespace afterimage
