// SIGINT and SIGTERM: every program ends soon, in good order, with the status that the documents say.
#include "core/base/stop_signal.h"

#include <signal.h>

#include <filesystem>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Arguments;
using testing::ChildProcess;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using ::testing::SizeIs;
using testing::WriteImages;

// Generous for a machine that does other things; the work that is stopped would take longer.
constexpr absl::Duration kPrompt = absl::Seconds(10);

class StopSignalTest : public ProgramsTest {
 protected:
  StopSignalTest() { WriteImages(images_, 96); }
};

TEST_F(StopSignalTest, PrecomputePublishesWhatIsDoneAndTheSameCommandGoesOn) {
  const Arguments seeds = {"--view-seeds", "400", "--seed-major"};
  uint64_t published = 0;
  for (const int signal : {SIGINT, SIGTERM}) {
    ChildProcess worker(PrecomputeCommand(Path("cache"), seeds));
    ASSERT_TRUE(WaitForRecords(Path("cache"), published + 96, worker)) << worker.Err();
    worker.Signal(signal);
    const Finished stopped = worker.Wait(kPrompt);
    EXPECT_EQ(stopped.status, 128 + signal) << stopped.Text();
    EXPECT_THAT(stopped.err, AllOf(HasSubstr("stopped"), HasSubstr("run the same command again")));
    const Json info = Info(Path("cache"));
    EXPECT_GE(info["records"].get<uint64_t>(), published + 96);
    published = info["records"].get<uint64_t>();
  }
  // No lease is left: the next worker need not wait for any to expire.
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Path("cache"))) {
    EXPECT_FALSE(entry.is_regular_file() && entry.path().parent_path().filename() == "leases" &&
                 entry.path().filename().string()[0] != '.')
        << entry.path();
  }
  const Finished verify = Afterimage({"verify", "--cache", Path("cache")});
  EXPECT_EQ(verify.status, 0) << verify.Text();
}

TEST_F(StopSignalTest, PrecomputeThroughAServerStopsToo) {
  Server server(Path("cache"));
  ChildProcess worker(PrecomputeCommand(server.address(), {"--view-seeds", "400", "--seed-major"}));
  ASSERT_TRUE(WaitForRecords(server.address(), 96, worker)) << worker.Err();
  worker.Signal(SIGINT);
  const Finished stopped = worker.Wait(kPrompt);
  EXPECT_EQ(stopped.status, 128 + SIGINT) << stopped.Text();
  EXPECT_EQ(Afterimage({"verify", "--cache", server.address()}).status, 0);
}

TEST_F(StopSignalTest, TheServerDrains) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Server server(Path("cache"));
    server.process().Signal(signal);
    const Finished stopped = server.process().Wait(kPrompt);
    EXPECT_EQ(stopped.status, 0) << stopped.Text();
    EXPECT_THAT(stopped.out, HasSubstr("stopped"));
  }
}

TEST_F(StopSignalTest, TheServerEndsStreamsOfATrainerThatGoesOnAfterwards) {
  ASSERT_EQ(Precompute(Path("cache")).status, 0);
  const Arguments run = {"--epochs", "400", "--credit-bytes", "400000", "--checkpoint-every", "10"};
  Server server(Path("cache"), "127.0.0.1:0", {"--drain-timeout", "0.5"});
  ChildProcess trainer(PretrainCommand({"--cache", server.address()}, "run", run));
  ASSERT_TRUE(trainer.WaitForText("steps per epoch"));
  server.process().Signal(SIGTERM);
  EXPECT_EQ(server.process().Wait(kPrompt).status, 0);
  ASSERT_TRUE(trainer.WaitForText("has been away since")) << trainer.Err();
  // A trainer that waits for its server is stopped as well, with its finished steps saved.
  trainer.Signal(SIGTERM);
  const Finished stopped = trainer.Wait(kPrompt);
  EXPECT_EQ(stopped.status, 128 + SIGTERM) << stopped.Text();
  EXPECT_THAT(stopped.out, HasSubstr("stopped; the same command goes on"));
}

TEST_F(StopSignalTest, PretrainSavesTheFinishedStepsAndGoesOnBitForBit) {
  ASSERT_EQ(Precompute(Path("cache")).status, 0);
  const Arguments run = {"--epochs", "80"};
  ASSERT_EQ(Pretrain(Path("cache"), "whole", run).status, 0);
  const auto expected = Losses("whole");
  ASSERT_THAT(expected, SizeIs(80 * 6 + 80));
  size_t steps = 0;
  for (const int signal : {SIGINT, SIGTERM}) {
    ChildProcess trainer(PretrainCommand({"--cache", Path("cache")}, "stopped", run));
    ASSERT_TRUE(trainer.WaitForText("steps per epoch")) << trainer.Err();
    absl::SleepFor(absl::Milliseconds(300));
    trainer.Signal(signal);
    const Finished stopped = trainer.Wait(kPrompt);
    ASSERT_EQ(stopped.status, 128 + signal) << stopped.Text();
    EXPECT_GT(Losses("stopped").size(), steps);
    steps = Losses("stopped").size();
    EXPECT_LT(steps, expected.size());
  }
  ASSERT_EQ(Pretrain(Path("cache"), "stopped", run).status, 0);
  EXPECT_EQ(Losses("stopped"), expected);
}

TEST_F(StopSignalTest, SuperviseSavesAndGoesOn) {
  const Arguments run = {"supervise",
                         "--images",
                         images_,
                         "--out",
                         Path("teacher"),
                         "--image-size",
                         "28",
                         "--patch-size",
                         "4",
                         "--width",
                         "96",
                         "--depth",
                         "4",
                         "--heads",
                         "3",
                         "--batch-size",
                         "32",
                         "--epochs",
                         "500",
                         "--threads",
                         "1"};
  for (const int signal : {SIGINT, SIGTERM}) {
    ChildProcess trainer(Command("afterimage-train", run));
    ASSERT_TRUE(trainer.WaitUntilItCatches(signal));
    absl::SleepFor(absl::Seconds(1));  // most likely within a step
    trainer.Signal(signal);
    const Finished stopped = trainer.Wait(kPrompt);
    EXPECT_EQ(stopped.status, 128 + signal) << stopped.Text();
  }
}

TEST_F(StopSignalTest, VerifyStops) {
  ASSERT_EQ(Precompute(Path("cache"), {"--view-seeds", "4"}).status, 0);
  // Seeds that are not stored are looked for all the same, for as long as it takes.
  ChildProcess verify(Command("afterimage", {"verify", "--cache", Path("cache"), "--view-seeds", "200000"}));
  ASSERT_TRUE(verify.WaitUntilItCatches(SIGINT));
  absl::SleepFor(absl::Milliseconds(300));
  verify.Signal(SIGINT);
  const Finished stopped = verify.Wait(kPrompt);
  EXPECT_EQ(stopped.status, 128 + SIGINT) << stopped.Text();
  EXPECT_THAT(stopped.err, HasSubstr("stopped after"));
}

TEST_F(StopSignalTest, KnnStops) {
  const std::string data = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "the package dataset-fashion-mnist is not installed";
  ChildProcess knn(
      Command("afterimage-train",
              {"knn", "--weights", AFTERIMAGE_SOURCE_DIR "/deploy/demo/teacher.safetensors", "--images",
               data + "/train-images-idx3-ubyte.gz", "--test-images", data + "/t10k-images-idx3-ubyte.gz"}));
  ASSERT_TRUE(knn.WaitUntilItCatches(SIGINT));
  absl::SleepFor(absl::Seconds(1));
  knn.Signal(SIGINT);
  const Finished stopped = knn.Wait(kPrompt);
  EXPECT_EQ(stopped.status, 128 + SIGINT) << stopped.Text();
  EXPECT_THAT(stopped.err, HasSubstr("stopped while"));
}

TEST_F(StopSignalTest, ASecondSignalEndsAtOnce) {
  ASSERT_EQ(Precompute(Path("cache")).status, 0);
  const Arguments run = {"--epochs", "400", "--credit-bytes", "400000"};
  Server server(Path("cache"), "127.0.0.1:0", {"--drain-timeout", "600"});
  ChildProcess trainer(PretrainCommand({"--cache", server.address()}, "run", run));
  ASSERT_TRUE(trainer.WaitForText("steps per epoch"));
  trainer.Signal(SIGSTOP);  // its stream stays open
  server.process().Signal(SIGTERM);
  ASSERT_TRUE(server.process().WaitForText("stopping"));
  server.process().Signal(SIGTERM);
  EXPECT_EQ(server.process().Wait(kPrompt).status, 128 + SIGTERM);
}

}  // namespace
}  // namespace afterimage
