// Ranks that are processes, as launchers start them: they make the run of one process, and end together.
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "core/base/stop_signal.h"
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
using testing::WriteImages;

constexpr absl::Duration kTogether = absl::Seconds(30);  // within which the others end when one has gone

uint16_t FreePort() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  socklen_t length = sizeof(address);
  EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  close(listener);
  return ntohs(address.sin_port);
}

class RanksTest : public ProgramsTest {
 protected:
  RanksTest() {
    WriteImages(images_, 96);
    EXPECT_EQ(Precompute(Path("cache"), {"--view-seeds", "2"}).status, 0);
  }

  Arguments RankCommand(uint32_t rank, uint32_t num_ranks, uint16_t port, const std::string& out,
                        const Arguments& more) const {
    Arguments all = {"--rank",       absl::StrCat(rank),
                     "--world-size", absl::StrCat(num_ranks),
                     "--rendezvous", absl::StrCat("127.0.0.1:", port)};
    all.insert(all.end(), more.begin(), more.end());
    return PretrainCommand({"--cache", Path("cache")}, out, all);
  }
  std::vector<std::unique_ptr<ChildProcess>> StartRanks(uint32_t num_ranks, const std::string& out,
                                                        const Arguments& more = {}) const {
    const uint16_t port = FreePort();
    std::vector<std::unique_ptr<ChildProcess>> ranks;
    for (uint32_t rank = 0; rank < num_ranks; ++rank)
      ranks.push_back(std::make_unique<ChildProcess>(RankCommand(rank, num_ranks, port, out, more)));
    return ranks;
  }
  void RunRanks(uint32_t num_ranks, const std::string& out, const Arguments& more = {}) const {
    for (const auto& rank : StartRanks(num_ranks, out, more)) {
      const Finished finished = rank->Wait(absl::Seconds(120));
      EXPECT_EQ(finished.status, 0) << finished.Text();
    }
  }
  static bool WaitForSteps(const std::string& out, ChildProcess& rank) {
    return rank.WaitForText("steps per epoch") && [&] {
      for (int i = 0; i < 6000 && rank.Running(); ++i, absl::SleepFor(absl::Milliseconds(10))) {
        std::error_code none;
        for (const auto& entry : std::filesystem::directory_iterator(out, none)) {
          if (entry.path().filename().string().starts_with("checkpoint-") &&
              entry.path().extension() == ".safetensors")
            return true;
        }
      }
      return false;
    }();
  }

  // Steps and ends of epochs: the same samples; losses that differ in the last bits only.
  void ExpectSameRun(const std::string& one, const std::string& other) const {
    const auto a = Losses(one), b = Losses(other);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      const std::vector<std::string> x = absl::StrSplit(a[i], '"'), y = absl::StrSplit(b[i], '"');
      ASSERT_EQ(x.size(), 3u) << a[i];
      ASSERT_EQ(y.size(), 3u) << b[i];
      EXPECT_EQ(x[0], y[0]);
      if (a[i].starts_with("epoch")) {
        EXPECT_EQ(x[1], y[1]) << "running digest of " << x[0];
      } else {
        const double wanted = std::strtod(x[1].c_str(), nullptr);
        EXPECT_NEAR(std::strtod(y[1].c_str(), nullptr), wanted, 1e-4 * std::abs(wanted)) << x[0];
      }
    }
  }
};

TEST_F(RanksTest, ProcessesMakeTheRunOfOneProcess) {
  ASSERT_EQ(Pretrain(Path("cache"), "one").status, 0);
  RunRanks(2, "two", {"--trace", Path("trace.json"), "--trace-steps", "4"});
  ExpectSameRun("one", "two");
  RunRanks(3, "three");
  ExpectSameRun("one", "three");
  for (const int rank : {0, 1}) {
    const auto text = ReadFile(Path(absl::StrCat("trace.rank", rank, ".json")));
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_TRUE(Json::parse(*text, nullptr, false)["traceEvents"].is_array());
  }
}

TEST_F(RanksTest, AKilledRankEndsTheOthersWithItsNameAndAnotherNumberGoesOn) {
  const Arguments run = {"--epochs", "40", "--checkpoint-every", "20"};
  ASSERT_EQ(Pretrain(Path("cache"), "one", run).status, 0);
  {
    const auto ranks = StartRanks(3, "killed", run);
    ASSERT_TRUE(WaitForSteps(Path("killed"), *ranks[0])) << ranks[0]->Err();
    ranks[1]->Signal(SIGKILL);
    const absl::Time killed = absl::Now();
    for (const int rank : {0, 2}) {
      const Finished finished = ranks[rank]->Wait(kTogether);
      EXPECT_EQ(finished.status, 1) << finished.Text();
      EXPECT_THAT(finished.err, AllOf(HasSubstr(absl::StrCat("rank 1 (")),
                                      HasSubstr(absl::StrCat("pid ", ranks[1]->pid(), ") has gone"))));
    }
    EXPECT_LT(absl::Now() - killed, kTogether);
  }
  RunRanks(2, "killed", run);
  ExpectSameRun("one", "killed");
}

TEST_F(RanksTest, RankZeroMayBeTheOneThatGoes) {
  const auto ranks = StartRanks(2, "run", {"--epochs", "400", "--checkpoint-every", "10"});
  ASSERT_TRUE(WaitForSteps(Path("run"), *ranks[0])) << ranks[0]->Err();
  ranks[0]->Signal(SIGKILL);
  const Finished finished = ranks[1]->Wait(kTogether);
  EXPECT_EQ(finished.status, 1) << finished.Text();
  EXPECT_THAT(finished.err, AllOf(HasSubstr("rank 0 ("), HasSubstr("has gone")));
}

TEST_F(RanksTest, ASuspendedRankIsNoticed) {
  const auto ranks = StartRanks(2, "run", {"--epochs", "400", "--checkpoint-every", "10"});
  ASSERT_TRUE(WaitForSteps(Path("run"), *ranks[0])) << ranks[0]->Err();
  ranks[1]->Signal(SIGSTOP);
  const Finished finished = ranks[0]->Wait(kTogether);
  EXPECT_EQ(finished.status, 1) << finished.Text();
  EXPECT_THAT(finished.err, AllOf(HasSubstr("rank 1 ("), HasSubstr("has gone: no sign of life")));
}

TEST_F(RanksTest, ASignalToOneStopsAllAndTheSameNumberGoesOnBitForBit) {
  const Arguments run = {"--epochs", "40", "--checkpoint-every", "20"};
  RunRanks(2, "whole", run);
  {
    const auto ranks = StartRanks(2, "stopped", run);
    ASSERT_TRUE(WaitForSteps(Path("stopped"), *ranks[0])) << ranks[0]->Err();
    ranks[1]->Signal(SIGTERM);
    const Finished asked = ranks[1]->Wait(kTogether);
    EXPECT_EQ(asked.status, 128 + SIGTERM) << asked.Text();
    const Finished told = ranks[0]->Wait(kTogether);
    EXPECT_EQ(told.status, 128 + SIGINT) << told.Text();  // no signal of its own
    EXPECT_THAT(ranks[0]->Out(), HasSubstr("stopped; the same command goes on"));
    EXPECT_LT(Losses("stopped").size(), Losses("whole").size());
  }
  RunRanks(2, "stopped", run);
  EXPECT_EQ(Losses("stopped"), Losses("whole"));
}

TEST_F(RanksTest, AnErrorOfOneRankIsToldByAll) {
  // Rank 1 alone has no such cache.
  const uint16_t port = FreePort();
  ChildProcess first(RankCommand(0, 2, port, "run", {}));
  ChildProcess second(RankCommand(1, 2, port, "run", {"--cache", Path("elsewhere")}));
  EXPECT_THAT(second.Wait().err, HasSubstr("elsewhere"));
  const Finished finished = first.Wait(kTogether);
  EXPECT_NE(finished.status, 0);
  EXPECT_THAT(finished.err, AllOf(HasSubstr("rank 1: "), HasSubstr("elsewhere")));
}

TEST_F(RanksTest, OtherConfigurationsAreRefusedByAll) {
  const uint16_t port = FreePort();
  ChildProcess first(RankCommand(0, 2, port, "run", {}));
  ChildProcess second(RankCommand(1, 2, port, "run", {"--blr", "2e-2"}));
  for (ChildProcess* const rank : {&first, &second}) {
    const Finished finished = rank->Wait(kTogether);
    EXPECT_EQ(finished.status, 1) << finished.Text();
    EXPECT_THAT(finished.err, AllOf(HasSubstr("rank 1 is not as rank 0"), HasSubstr("\"config.lr\"")));
  }
}

TEST_F(RanksTest, RanksThatDoNotComeAndTakenPortsAreSaid) {
  const uint16_t port = FreePort();
  ChildProcess alone(RankCommand(0, 3, port, "run", {"--rendezvous-timeout", "4"}));
  absl::SleepFor(absl::Seconds(2));  // it listens
  const Finished second = testing::RunProgram(RankCommand(0, 2, port, "run", {}));
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.err,
              AllOf(HasSubstr(absl::StrCat("port ", port)), HasSubstr("taken"), HasSubstr("--rendezvous")));
  const Finished first = alone.Wait(kTogether);
  EXPECT_EQ(first.status, 1);
  EXPECT_THAT(first.err, HasSubstr("ranks 1, 2 of 3 did not come within 4s"));

  const Finished client = testing::RunProgram(RankCommand(1, 2, port, "run", {"--rendezvous-timeout", "1"}));
  EXPECT_EQ(client.status, 1);
  EXPECT_THAT(client.err, HasSubstr(absl::StrCat("rank 0 does not answer at 127.0.0.1:", port)));
}

}  // namespace
}  // namespace afterimage
