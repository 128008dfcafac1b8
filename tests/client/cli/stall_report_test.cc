#include "client/cli/stall_report.h"

#include <string>

#include "gmock/gmock.h"

namespace afterimage::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

StallRow Row(const std::string& server, StallPart part, double seconds) {
  return {0, server, {part, absl::Seconds(seconds)}};
}

TEST(StallReportTest, NamesTheLargestPartAndWhoseItIs) {
  StallReport report{.seconds = 10};
  report.Add(Row("grpc://a:1", StallPart::kDisk, 1.5));
  report.Add(Row("grpc://b:2", StallPart::kDisk, 1));
  report.Add(Row("grpc://b:2", StallPart::kWire, 1.4));
  report.Add(Row("", StallPart::kDecode, 1.1));
  EXPECT_DOUBLE_EQ(report.wait_share(), 0.5);
  EXPECT_EQ(WaitText(report),
            "waited 50.0 % of their time for data, mostly (30 % of it) for the disk of the "
            "server at grpc://a:1");
  EXPECT_EQ(LargestOf(report).server, "grpc://a:1");
  EXPECT_EQ(ToJson(report)["servers"]["grpc://b:2"]["wire"], 1.4);
  EXPECT_EQ(ToJson(report)["here"]["decode"], 1.1);
  EXPECT_EQ(ToJson(report)["parts"]["disk"], 2.5);
  EXPECT_THAT(StallTable(report), AllOf(HasSubstr("grpc://a:1                     15.0%"),
                                        HasSubstr("here  "), HasSubstr("all "), HasSubstr("50.0%\n")));
}

TEST(StallReportTest, EveryPartHasWordsAndARemedyOfItsOwn) {
  std::string before;
  for (size_t i = 0; i < kNumStallParts; ++i) {
    for (const std::string server : {"", "unix:/s"}) {
      const auto part = static_cast<StallPart>(i);
      const bool needs_server =
          part == StallPart::kCredit || part == StallPart::kWire || part == StallPart::kOrder;
      if ((needs_server && server.empty()) || (part == StallPart::kDecode && !server.empty())) continue;
      StallReport report{.seconds = 2};
      report.Add(Row(server, part, 1));
      const std::string text = WaitText(report) + ". " + RemedyFor(LargestOf(report));
      EXPECT_THAT(text, AllOf(HasSubstr("50.0 % "), HasSubstr("(100 % of it)"), Not(HasSubstr("?"))));
      EXPECT_EQ(text.find("unix:/s") != std::string::npos, !server.empty()) << text;
      EXPECT_NE(text, before);
      before = text;
    }
  }
}

TEST(StallReportTest, NoWaitIsSaidPlainly) {
  EXPECT_EQ(WaitText({.seconds = 3}), "waited 0.0 % of their time for data");
  EXPECT_EQ(LargestOf({.seconds = 3}).share_of_wait, 0);
}

}  // namespace
}  // namespace afterimage::cli
