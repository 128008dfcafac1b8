// kill -9 of worker, server and trainer: what was published is whole, and the trainer's losses are those of a
// run that nothing disturbed, to the last bit.
#include <signal.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
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
using ::testing::SizeIs;
using testing::WriteImages;

constexpr int kNumImages = 96;
constexpr uint64_t kNumSeeds = 16;
constexpr int kKilled = 128 + SIGKILL;
// Small steps in small batches of read-ahead: the trainer cannot have read the whole epoch before the server
// dies.
const Arguments kLongRun = {"--epochs", "40", "--checkpoint-every", "20", "--credit-bytes", "400000",
                            "--width",  "64"};

class KillAndResumeTest : public ProgramsTest {
 protected:
  KillAndResumeTest() { WriteImages(images_, kNumImages); }

  // A short lease, so that the successor of a dead worker does not wait a minute.
  static Arguments Seeds() {
    return {"--view-seeds", std::to_string(kNumSeeds), "--seed-major", "--lease-seconds", "1"};
  }
  static void ExpectWhole(const std::string& cache) {
    const Json counts = Verify(cache);
    ASSERT_TRUE(counts.is_object());
    EXPECT_EQ(counts["ok"], kNumImages * kNumSeeds);
    EXPECT_EQ(counts["missing"], 0);
    EXPECT_EQ(counts["damaged"], 0) << counts["damage"].dump();
  }
  // What there is, is whole.
  static void ExpectClean(const std::string& cache) {
    const Finished verify = Afterimage({"verify", "--cache", cache});
    EXPECT_EQ(verify.status, 0) << verify.Text();
    EXPECT_THAT(verify.out, HasSubstr(" 0 damaged"));
  }
  bool WaitForCheckpoint(const std::string& out, ChildProcess& trainer) const {
    while (trainer.Running()) {
      if (std::filesystem::exists(Path(out))) {
        for (const auto& entry : std::filesystem::directory_iterator(Path(out))) {
          if (absl::StartsWith(entry.path().filename().string(), "checkpoint-") &&
              entry.path().extension() == ".safetensors") {
            return true;
          }
        }
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }
};

TEST_F(KillAndResumeTest, AKilledWorkersUnitsStayAndItsSuccessorComputesTheRest) {
  {
    ChildProcess worker(PrecomputeCommand(Path("cache"), Seeds()));
    ASSERT_TRUE(WaitForRecords(Path("cache"), kNumImages, worker)) << worker.Err();
    worker.Signal(SIGKILL);
    ASSERT_EQ(worker.Wait().status, kKilled);
  }
  ExpectClean(Path("cache"));
  const uint64_t kept = Info(Path("cache"))["records"].get<uint64_t>();
  EXPECT_GE(kept, kNumImages);
  EXPECT_LT(kept, kNumImages * kNumSeeds) << "the worker was done before it was killed";
  const Finished rest = Precompute(Path("cache"), Seeds());
  ASSERT_EQ(rest.status, 0) << rest.Text();
  EXPECT_THAT(rest.out, HasSubstr("\"duplicates_different\":0"));
  ExpectWhole(Path("cache"));
}

TEST_F(KillAndResumeTest, AKilledServerKeepsWhatWorkersPublishedThroughIt) {
  std::string listen;
  {
    Server server(Path("cache"));
    listen = server.listen();
    ChildProcess worker(PrecomputeCommand(server.address(), Seeds()));
    ASSERT_TRUE(WaitForRecords(server.address(), kNumImages, worker)) << worker.Err();
    server.process().Signal(SIGKILL);
    ASSERT_EQ(server.process().Wait().status, kKilled);
    const Finished left = worker.Wait(absl::Seconds(30));  // gives up after some tries, and says why
    EXPECT_EQ(left.status, 1) << left.Text();
    EXPECT_THAT(left.err, HasSubstr(server.address()));
  }
  ExpectClean(Path("cache"));
  Server server(Path("cache"), listen);
  const Finished rest = Precompute(server.address(), Seeds());
  ASSERT_EQ(rest.status, 0) << rest.Text();
  ExpectWhole(server.address());
  ExpectWhole(Path("cache"));
}

// What else a run can be told; drop path and the order are in all of them.
struct KilledRun {
  const char* precision;
  int num_epochs;  // half precisions take their time on a CPU without instructions for them
  Arguments more;
};
class KilledTrainerTest : public KillAndResumeTest, public ::testing::WithParamInterface<KilledRun> {};

TEST_P(KilledTrainerTest, RepeatsItsLastStepsAndGoesOnBitForBit) {
  Arguments run = kLongRun;
  const int num_epochs = GetParam().num_epochs;
  run.insert(run.end(), {"--precision", GetParam().precision, "--epochs", std::to_string(num_epochs)});
  run.insert(run.end(), GetParam().more.begin(), GetParam().more.end());
  ASSERT_EQ(Precompute(Path("cache"), {"--view-seeds", "2"}).status, 0);
  ASSERT_EQ(Pretrain(Path("cache"), "whole", run).status, 0);
  const auto expected = Losses("whole");
  ASSERT_THAT(expected, SizeIs(num_epochs * 6 + num_epochs));
  for (int life = 0; life < 2; ++life) {
    ChildProcess trainer(PretrainCommand({"--cache", Path("cache")}, "killed", run));
    ASSERT_TRUE(WaitForCheckpoint("killed", trainer)) << trainer.Err();
    absl::SleepFor(absl::Milliseconds(150));
    trainer.Signal(SIGKILL);
    ASSERT_EQ(trainer.Wait().status, kKilled) << "it was done before it was killed";
  }
  const Finished rest = Pretrain(Path("cache"), "killed", run);
  ASSERT_EQ(rest.status, 0) << rest.Text();
  EXPECT_THAT(rest.err, HasSubstr("going on from " + Path("killed/checkpoint-")));
  EXPECT_EQ(Losses("killed"), expected);
  // Weights, optimiser, average, loss scale, position, mean of the epoch: to the last bit. So is the best
  // state.
  for (const std::string& name :
       {absl::StrCat("/checkpoint-", num_epochs * 6, ".safetensors"), std::string("/best.safetensors")}) {
    const auto whole = ReadFile(Path("whole") + name), killed = ReadFile(Path("killed") + name);
    ASSERT_TRUE(whole.ok() && killed.ok());
    EXPECT_TRUE(*whole == *killed) << name;
  }
  ExpectClean(Path("cache"));
}

INSTANTIATE_TEST_SUITE_P(
    Options, KilledTrainerTest,
    ::testing::Values(
        KilledRun{"f32", 40, {}},
        KilledRun{"bf16", 20, {"--ema", "0.9", "--accumulate", "2", "--clip-grad", "1"}},
        KilledRun{
            "f16", 12, {"--width", "32", "--ema", "0.9", "--accumulate", "3", "--mask-ratio", "0.5:0.8"}}),
    [](const auto& info) { return std::string(info.param.precision); });

TEST_F(KillAndResumeTest, TheTrainerWaitsForAServerThatWasKilledAndGoesOnBitForBit) {
  ASSERT_EQ(Precompute(Path("cache"), {"--view-seeds", "2"}).status, 0);
  ASSERT_EQ(Pretrain(Path("cache"), "whole", kLongRun).status, 0);
  auto server = std::make_unique<Server>(Path("cache"));
  const std::string listen = server->listen();
  ChildProcess trainer(PretrainCommand({"--cache", server->address()}, "served", kLongRun));
  ASSERT_TRUE(WaitForCheckpoint("served", trainer)) << trainer.Err();
  server->process().Signal(SIGKILL);
  ASSERT_EQ(server->process().Wait().status, kKilled);
  ASSERT_TRUE(trainer.WaitForText("the source of features has been away since")) << trainer.Err();
  EXPECT_TRUE(trainer.Running());
  server = std::make_unique<Server>(Path("cache"), listen);
  const Finished trained = trainer.Wait();
  ASSERT_EQ(trained.status, 0) << trained.Text();
  EXPECT_THAT(trained.err, HasSubstr("the source is back after"));
  EXPECT_EQ(Losses("served"), Losses("whole"));
}

TEST_F(KillAndResumeTest, ATrainerThatStartsWhileTheServerIsAwayStopsClearlyAndGoesOnLater) {
  ASSERT_EQ(Precompute(Path("cache"), {"--view-seeds", "2"}).status, 0);
  ASSERT_EQ(Pretrain(Path("cache"), "whole").status, 0);
  std::string listen, address;
  {
    Server server(Path("cache"));
    listen = server.listen();
    address = server.address();
    ASSERT_EQ(Pretrain(address, "served", {"--steps", "7"}).status, 0);
    server.process().Signal(SIGTERM);
    EXPECT_EQ(server.process().Wait().status, 0);
  }
  const Finished alone = Pretrain(address, "served", {"--server-timeout", "2"});
  EXPECT_EQ(alone.status, 1) << alone.Text();
  EXPECT_THAT(alone.err, HasSubstr(address));
  Server server(Path("cache"), listen);
  ASSERT_EQ(Pretrain(address, "served").status, 0);
  EXPECT_EQ(Losses("served"), Losses("whole"));
}

}  // namespace
}  // namespace afterimage
