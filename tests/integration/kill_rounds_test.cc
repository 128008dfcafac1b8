// Twenty rounds of server, trainer and connection failing at random points: the losses and running digests
// are those of a run that nothing disturbed, so every record came exactly once to the model.
#include <signal.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using testing::Arguments;
using testing::ChildProcess;
using testing::ProgramsTest;
using testing::Server;
using testing::WriteImages;

constexpr int kNumRounds = 20;
const Arguments kRun = {"--epochs", "30", "--checkpoint-every", "5", "--credit-bytes", "200000"};

class KillRoundsTest : public ProgramsTest {
 protected:
  KillRoundsTest() {
    WriteImages(images_, 96);
    EXPECT_EQ(Precompute(Path("cache"), {"--view-seeds", "2"}).status, 0);
    EXPECT_EQ(Pretrain(Path("cache"), "whole", kRun).status, 0);
    for (size_t i = 0; i < 2; ++i) {
      servers_.push_back(std::make_unique<Server>(Path("cache")));
      listens_.push_back(servers_[i]->listen());
    }
  }

  // One failure; `both` servers are in use, or the first one alone.
  void Fail(std::mt19937_64& random, bool both, std::unique_ptr<ChildProcess>& trainer,
            const Arguments& command) {
    const auto pause = [&](int most_ms) {
      absl::SleepFor(absl::Milliseconds(static_cast<int>(random() % most_ms)));
    };
    const size_t victim = both ? random() % 2 : 0;
    switch (random() % 4) {
      case 0:  // the server dies, and comes back
        servers_[victim]->process().Signal(SIGKILL);
        servers_[victim]->process().Wait();
        pause(500);
        servers_[victim] = std::make_unique<Server>(Path("cache"), listens_[victim]);
        break;
      case 1:  // it drains
        servers_[victim]->process().Signal(SIGTERM);
        pause(300);
        servers_[victim]->process().Signal(SIGTERM);
        servers_[victim]->process().Wait();
        servers_[victim] = std::make_unique<Server>(Path("cache"), listens_[victim]);
        break;
      case 2:  // it hangs for a while
        servers_[victim]->process().Signal(SIGSTOP);
        pause(1500);
        servers_[victim]->process().Signal(SIGCONT);
        break;
      default:  // the trainer dies
        trainer->Signal(SIGKILL);
        trainer->Wait();
        trainer = std::make_unique<ChildProcess>(command);
    }
  }

  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::string> listens_;
};

TEST_F(KillRoundsTest, LossesAndDigestsAreThoseOfAnUndisturbedRun) {
  const std::vector<std::string> wanted = Losses("whole");
  ASSERT_EQ(wanted.size(), 30 * 6 + 30);
  int num_failures = 0;
  for (int round = 0; round < kNumRounds; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    std::mt19937_64 random(round);
    const bool both = round % 2 == 1;
    const std::string address =
        both ? absl::StrCat(servers_[0]->address(), ",", listens_[1]) : servers_[0]->address();
    const std::string out = absl::StrCat("round-", round);
    const Arguments command = PretrainCommand({"--cache", address}, out, kRun);
    auto trainer = std::make_unique<ChildProcess>(command);
    for (int i = 0; i < 3; ++i) {
      absl::SleepFor(absl::Milliseconds(static_cast<int>(random() % 700)));
      if (!trainer->Running()) break;
      Fail(random, both, trainer, command);
      ++num_failures;
    }
    const testing::Finished finished = trainer->Wait(absl::Seconds(120));
    ASSERT_EQ(finished.status, 0) << finished.Text();
    ASSERT_EQ(Losses(out), wanted) << finished.Text();
  }
  EXPECT_GE(num_failures, kNumRounds) << "runs were over before anything failed";
}

}  // namespace
}  // namespace afterimage
