#include "client/remote/server_pace.h"

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace afterimage {
namespace {

constexpr ServerPace::Options kOptions = {.window = absl::Milliseconds(20),
                                          .slow_for = absl::Milliseconds(200)};

void LetAWindowPass(ServerPace& pace) {
  absl::SleepFor(absl::Milliseconds(25));
  pace.Judge();
}

TEST(ServerPaceTest, TheOneThatReadersWaitForIsSlowForAWhile) {
  ServerPace pace(3, kOptions);
  pace.Waited(1, absl::Seconds(1));
  pace.Waited(2, absl::Milliseconds(100));
  pace.Judge();
  EXPECT_FALSE(pace.IsSlow(1)) << "before the window is over";
  LetAWindowPass(pace);
  EXPECT_TRUE(pace.IsSlow(1));
  EXPECT_EQ(pace.Choose(1), 2);
  EXPECT_EQ(pace.Choose(0), 0);
  absl::SleepFor(absl::Milliseconds(250));
  EXPECT_FALSE(pace.IsSlow(1));
}

TEST(ServerPaceTest, NobodyIsSlowWhereAllAreOrNobodyWaits) {
  ServerPace pace(2, kOptions);
  pace.Waited(0, absl::Seconds(1));
  pace.Waited(1, absl::Milliseconds(500));
  LetAWindowPass(pace);
  EXPECT_FALSE(pace.IsSlow(0));
  pace.Waited(0, absl::Milliseconds(2));  // training is the bottleneck
  LetAWindowPass(pace);
  EXPECT_FALSE(pace.IsSlow(0));
}

TEST(ServerPaceTest, HalfOfTheServersAreAlwaysLeft) {
  ServerPace pace(3, kOptions);
  pace.Waited(0, absl::Seconds(1));
  LetAWindowPass(pace);
  EXPECT_TRUE(pace.IsSlow(0));
  pace.Waited(1, absl::Seconds(1));  // it stands in for the first
  LetAWindowPass(pace);
  EXPECT_FALSE(pace.IsSlow(1));
  ServerPace alone(1, kOptions);
  alone.Waited(0, absl::Seconds(1));
  LetAWindowPass(alone);
  EXPECT_FALSE(alone.IsSlow(0));
}

}  // namespace
}  // namespace afterimage
