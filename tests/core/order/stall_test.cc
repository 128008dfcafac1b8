// The ledger of waits: parts that add up, and their written form.
#include "core/order/stall.h"

#include <string>
#include <vector>

#include "core/order/stall_meter.h"
#include "core/order/stall_rows.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

constexpr absl::Time kStart = absl::UnixEpoch();
absl::Time At(int64_t ms) { return kStart + absl::Milliseconds(ms); }

StallTimes Times(int64_t disk, int64_t queue, int64_t credit) {
  StallTimes times(StallPart::kDisk, absl::Milliseconds(disk));
  times[StallPart::kQueue] = absl::Milliseconds(queue);
  times[StallPart::kCredit] = absl::Milliseconds(credit);
  return times;
}
int64_t Ms(absl::Duration time) { return absl::ToInt64Milliseconds(time + absl::Microseconds(1)); }

TEST(StallMeterTest, WhatNothingExplainsIsTheRest) {
  StallMeter meter;
  meter.Begin(At(0));
  meter.Explain(1, Times(30, 10, 0), At(50));
  meter.Explain(std::nullopt, Times(0, 5, 0), At(70));
  const Stall stall = meter.End(At(100), StallPart::kDecode);
  EXPECT_EQ(stall.Total(), absl::Milliseconds(100));
  ASSERT_THAT(stall.rows(), SizeIs(3));
  EXPECT_EQ(Ms(stall.rows()[0][StallPart::kQueue]), 5);
  EXPECT_EQ(Ms(stall.rows()[0][StallPart::kDecode]), 55);
  EXPECT_EQ(stall.rows()[1].Total(), absl::ZeroDuration());
  EXPECT_EQ(Ms(stall.rows()[2][StallPart::kDisk]), 30);
  EXPECT_EQ(Ms(stall.rows()[2][StallPart::kQueue]), 10);
}

TEST(StallMeterTest, OnlyWhatLiesInsideTheWaitCountsAndNothingTwice) {
  StallMeter meter;
  meter.Explain(0, Times(1, 0, 0), At(0));  // nobody waits
  meter.Begin(At(100));
  meter.Explain(0, Times(300, 0, 100), At(140));  // began before the wait: 40 of its 400 ms lie inside
  meter.Explain(0, Times(100, 0, 0), At(150));    // and 10 of these are not explained yet
  const Stall stall = meter.End(At(150), StallPart::kDecode);
  EXPECT_EQ(Ms(stall.Total()), 50);
  EXPECT_EQ(Ms(stall.rows()[1][StallPart::kDisk]), 30 + 10);
  EXPECT_EQ(Ms(stall.rows()[1][StallPart::kCredit]), 10);
  EXPECT_FALSE(meter.waiting());
  meter.Begin(At(200));
  EXPECT_EQ(meter.End(At(200), StallPart::kQueue).Total(), absl::ZeroDuration());
}

TEST(SplitServerWaitTest, TheServerIsIdleFirstAndSendsThen) {
  // 100 ms between two messages, 60 of them idle. Who waited all the time waited for both ...
  StallTimes split = SplitServerWait(absl::Milliseconds(100), absl::Milliseconds(100), Times(45, 0, 15));
  EXPECT_EQ(Ms(split[StallPart::kWire]), 40);
  EXPECT_EQ(Ms(split[StallPart::kDisk]), 45);
  EXPECT_EQ(Ms(split[StallPart::kCredit]), 15);
  // ... who came after 60 ms waited for the wire alone, who came after 40 for a third of the idle time.
  split = SplitServerWait(absl::Milliseconds(40), absl::Milliseconds(100), Times(45, 0, 15));
  EXPECT_EQ(Ms(split[StallPart::kWire]), 40);
  EXPECT_EQ(Ms(split.Total()), 40);
  split = SplitServerWait(absl::Milliseconds(60), absl::Milliseconds(100), Times(45, 0, 15));
  EXPECT_EQ(Ms(split[StallPart::kDisk]), 15);
  EXPECT_EQ(Ms(split[StallPart::kCredit]), 5);
  EXPECT_EQ(Ms(split[StallPart::kWire]), 40);
}

TEST(SplitServerWaitTest, AlwaysAddsUpToTheWait) {
  for (const int64_t waited : {0, 1, 50, 200}) {
    for (const int64_t window : {-5, 0, 50, 200}) {
      for (const int64_t idle : {0, 1, 70, 86'400'000}) {
        const StallTimes split = SplitServerWait(absl::Milliseconds(waited), absl::Milliseconds(window),
                                                 Times(idle, idle / 2, idle));
        EXPECT_NEAR(absl::ToDoubleMilliseconds(split.Total()), waited, 1e-3)
            << waited << " " << window << " " << idle;
      }
    }
  }
  // A server that tells nothing explains nothing.
  EXPECT_EQ(Ms(SplitServerWait(absl::Milliseconds(7), absl::Milliseconds(5), {})[StallPart::kWire]), 7);
}

TEST(StallRowsTest, AreReadAsTheyWereWritten) {
  Stall stall;
  stall.Add(std::nullopt, {StallPart::kDecode, absl::Microseconds(1500)});
  stall.Add(1, Times(250, 0, 3));
  std::vector<StallRow> rows;
  AppendStallRows(3, stall, std::vector<std::string>{"grpc://a:1", "grpc://b:2"}, rows);
  const Json json = ToJson(rows);
  EXPECT_EQ(json.dump(),
            R"([{"decode":0.0015,"rank":3},{"credit":0.003,"disk":0.25,"rank":3,"server":"grpc://b:2"}])");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<StallRow> read, StallRowsFromJson(json));
  ASSERT_THAT(read, SizeIs(2));
  EXPECT_EQ(read[0].server, "");
  EXPECT_EQ(read[1].rank, 3);
  EXPECT_EQ(read[1].server, "grpc://b:2");
  EXPECT_EQ(Ms(read[1].times[StallPart::kDisk]), 250);
}

TEST(StallRowsTest, ARoundingErrorIsNoRowAndAnUnknownServerHasItsNumber) {
  Stall stall;
  stall.Add(4, {StallPart::kWire, absl::Nanoseconds(400)});
  std::vector<StallRow> rows;
  AppendStallRows(0, stall, {}, rows);
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].server, "server 4");
  EXPECT_EQ(ToJson(rows).dump(), "[]");
}

TEST(StallRowsTest, RefusesWhatItDoesNotKnow) {
  const auto error = [](const char* text) { return StallRowsFromJson(Json::parse(text)).status(); };
  EXPECT_THAT(error(R"({"disk":1})"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no list")));
  EXPECT_THAT(error("[1]"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no object")));
  EXPECT_THAT(error(R"([{"rank":0,"tape":1}])"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"tape\": 1")));
  EXPECT_THAT(error(R"([{"rank":0,"disk":"much"}])"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"disk\": \"much\"")));
  EXPECT_THAT(error(R"([{"rank":-1}])"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank")));
}

}  // namespace
}  // namespace afterimage
