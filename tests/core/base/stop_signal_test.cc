#include "core/base/stop_signal.h"

#include <signal.h>

#include <chrono>
#include <thread>

#include "gmock/gmock.h"

namespace afterimage {
namespace {

class StopSignalTest : public ::testing::Test {
 protected:
  StopSignalTest() { ResetStopForTest(); }
  ~StopSignalTest() override { ResetStopForTest(); }
};

TEST_F(StopSignalTest, FirstSignalSetsTheFlag) {
  InstallStopSignalHandlers();
  EXPECT_FALSE(StopRequested());
  raise(SIGTERM);
  EXPECT_TRUE(StopRequested());
}

TEST_F(StopSignalTest, TheExitStatusIsThatOfTheFirstSignal) {
  InstallStopSignalHandlers();
  raise(SIGTERM);
  RequestStop();
  EXPECT_EQ(StoppedExitStatus(), 143);
  ResetStopForTest();
  raise(SIGINT);
  EXPECT_EQ(StoppedExitStatus(), 130);
}

TEST_F(StopSignalTest, RequestStopActsAsASignal) {
  RequestStop();
  EXPECT_EQ(StoppedExitStatus(), 130);
  EXPECT_TRUE(StopRequested());
  EXPECT_TRUE(WaitForStop(0));
}

TEST_F(StopSignalTest, WaitForStopGivesUpInTime) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(WaitForStop(30));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(30));
}

TEST_F(StopSignalTest, WaitForStopWakesWhenAStopIsAskedFor) {
  std::thread stopper([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    RequestStop();
  });
  EXPECT_TRUE(WaitForStop(60'000));
  stopper.join();
}

using StopSignalDeathTest = StopSignalTest;

TEST_F(StopSignalDeathTest, SecondSignalEndsTheProcess) {
  const auto two_signals = [](int signal) {
    InstallStopSignalHandlers();
    raise(signal);
    raise(signal);
  };
  EXPECT_EXIT(two_signals(SIGINT), ::testing::ExitedWithCode(128 + SIGINT), "");
  EXPECT_EXIT(two_signals(SIGTERM), ::testing::ExitedWithCode(128 + SIGTERM), "");
}

}  // namespace
}  // namespace afterimage
