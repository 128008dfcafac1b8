// A network that swallows packets without a word, between two network namespaces: neither end is told that
// the other one is out of reach.
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using testing::Arguments;
using testing::ChildProcess;
using testing::Finished;
using testing::ProgramsTest;
using testing::RunProgram;
using testing::WriteImages;

constexpr char kIp[] = "/usr/sbin/ip";
constexpr char kTc[] = "/usr/sbin/tc";
constexpr char kServerAddress[] = "10.203.77.1";
constexpr char kClientAddress[] = "10.203.77.2";
// docs/operations/server.md: after this a client, and a server, has noticed.
constexpr absl::Duration kClientNotices = absl::Seconds(50);
constexpr absl::Duration kServerNotices = absl::Seconds(80);
constexpr absl::Duration kMargin = absl::Seconds(10);

// Nobody else is in the server's namespace.
constexpr char kHttp[] = "127.0.0.1:9090";

// Two namespaces, each with one end of a cable.
class Cable {
 public:
  Cable() {
    for (size_t i = 0; i < 2; ++i) {
      if (!Run({kIp, "netns", "add", names_[i]})) return;
    }
    if (!Run({kIp, "link", "add", ends_[0], "netns", names_[0], "type", "veth", "peer", "name", ends_[1],
              "netns", names_[1]}))
      return;
    for (size_t i = 0; i < 2; ++i) {
      const std::string address = absl::StrCat(i == 0 ? kServerAddress : kClientAddress, "/30");
      if (!Run({kIp, "-n", names_[i], "addr", "add", address, "dev", ends_[i]}) ||
          !Run({kIp, "-n", names_[i], "link", "set", ends_[i], "up"}) ||
          !Run({kIp, "-n", names_[i], "link", "set", "lo", "up"}))
        return;
    }
    // Not every kernel can drop packets in this way.
    if (Drop()) Restore();
  }
  ~Cable() {
    for (const std::string& name : names_) RunProgram({kIp, "netns", "del", name});
  }

  // Why there is none; empty when there is one.
  const std::string& why_not() const { return why_not_; }
  Arguments InServersPlace(Arguments command) const { return In(0, std::move(command)); }
  Arguments InClientsPlace(Arguments command) const { return In(1, std::move(command)); }

  // A queue that is too short for any packet: they are sent as far as their senders know.
  bool Drop() {
    bool all = true;
    for (size_t i = 0; i < 2; ++i) {
      all = Run(In(i, {kTc, "qdisc", "replace", "dev", ends_[i], "root", "tbf", "rate", "8bit", "burst", "1",
                       "limit", "1"})) &&
            all;
    }
    return all;
  }
  void Restore() {
    for (size_t i = 0; i < 2; ++i) Run(In(i, {kTc, "qdisc", "del", "dev", ends_[i], "root"}));
  }

 private:
  Arguments In(size_t i, Arguments command) const {
    command.insert(command.begin(), {kIp, "netns", "exec", names_[i]});
    return command;
  }
  bool Run(const Arguments& command) {
    const Finished finished = RunProgram(command);
    if (finished.status != 0 && why_not_.empty())
      why_not_ = absl::StrCat(command[0], " ", command[1], " ", command[2], ": ", finished.Text());
    return finished.status == 0;
  }

  const std::string names_[2] = {absl::StrCat("afterimage-s", getpid()),
                                 absl::StrCat("afterimage-c", getpid())};
  const std::string ends_[2] = {absl::StrCat("ais", getpid()), absl::StrCat("aic", getpid())};
  std::string why_not_;
};

// Bulk streams under way, as the server's /metrics has them; -1 if it does not answer.
int NumStreams(const Cable& cable) {
  const Finished page = RunProgram(cable.InServersPlace(
      {"/bin/bash", "-c",
       "exec 3<>/dev/tcp/127.0.0.1/9090; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"}));
  const std::string name = "\nafterimage_streams ";
  const size_t at = page.out.find(name);
  return at == std::string::npos ? -1 : std::atoi(page.out.c_str() + at + name.size());
}

TEST_F(ProgramsTest, ATrainerAndItsServerNoticePacketsThatVanishAndGoOnWhenTheyFlowAgain) {
  if (access(kIp, X_OK) != 0 || access(kTc, X_OK) != 0) GTEST_SKIP() << "needs " << kIp << " and " << kTc;
  Cable cable;
  if (!cable.why_not().empty()) GTEST_SKIP() << "needs root and network namespaces: " << cable.why_not();
  WriteImages(images_, 96);
  ASSERT_EQ(Precompute(Path("cache"), {"--view-seeds", "2"}).status, 0);
  const Arguments run = {"--epochs", "150", "--credit-bytes", "200000"};
  ASSERT_EQ(Pretrain(Path("cache"), "whole", run).status, 0);

  ChildProcess server(cable.InServersPlace(
      Command("afterimage-server",
              {"--cache", Path("cache"), "--listen", absl::StrCat(kServerAddress, ":0"), "--insecure",
               "--port-file", Path("port"), "--http", kHttp, "--log", "streams"})));
  ASSERT_TRUE(server.WaitForText("serving")) << server.Err();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string port, ReadFile(Path("port")));
  const std::string address = absl::StrCat("grpc://", kServerAddress, ":", std::stoi(port));
  ChildProcess trainer(cable.InClientsPlace(PretrainCommand({"--cache", address}, "run", run)));
  ASSERT_TRUE(server.WaitForText("ReadEpoch")) << trainer.Err();  // the first epoch is over

  ASSERT_TRUE(cable.Drop()) << cable.why_not();
  const absl::Time dropped = absl::Now();
  RecordProperty("streams_when_dropped", NumStreams(cable));
  ASSERT_TRUE(trainer.WaitForText("training waits since", absl::Seconds(10) + kMargin)) << trainer.Err();
  ASSERT_TRUE(trainer.WaitForText("has been away since", kClientNotices + kMargin)) << trainer.Err();
  RecordProperty("client_noticed_s", absl::FormatDuration(absl::Now() - dropped));
  int num_streams = NumStreams(cable);
  for (; num_streams != 0 && absl::Now() < dropped + kServerNotices + kMargin;
       num_streams = NumStreams(cable))
    absl::SleepFor(absl::Milliseconds(200));
  EXPECT_EQ(num_streams, 0) << server.Err();
  RecordProperty("server_freed_s", absl::FormatDuration(absl::Now() - dropped));
  EXPECT_TRUE(trainer.Running()) << trainer.Err();

  cable.Restore();
  const absl::Time restored = absl::Now();
  ASSERT_TRUE(trainer.WaitForText("the source is back after", absl::Seconds(30))) << trainer.Err();
  RecordProperty("back_after_s", absl::FormatDuration(absl::Now() - restored));
  const Finished finished = trainer.Wait(absl::Seconds(120));
  EXPECT_EQ(finished.status, 0) << finished.Text();
  EXPECT_EQ(Losses("run"), Losses("whole"));
}

}  // namespace
}  // namespace afterimage
