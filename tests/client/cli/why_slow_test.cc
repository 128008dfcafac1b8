#include "client/cli/why_slow.h"

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::StatusIs;
using testing::TemporaryFolder;

class WhySlowTest : public ::testing::Test {
 protected:
  // `ledger`: what "stall_s" is.
  static std::string Step(uint64_t step, double seconds, const std::string& ledger) {
    return absl::StrCat(R"({"step":)", step, R"(,"loss":0.5,"step_s":)", seconds,
                        R"(,"wait_share":0.5,"stall_s":)", ledger, "}\n");
  }
  static std::string OldStep(uint64_t step) {
    return absl::StrCat(R"({"step":)", step, R"(,"loss":0.5,"wait_share":0.5})", "\n");
  }
  void Write(const std::string& text) { std::ofstream(folder_ / "metrics.jsonl") << text; }
  absl::StatusOr<RunStalls> Read(const StepRange& range = {}) {
    return ReadRunStalls(folder_.path().string(), range);
  }
  absl::Status Error(const StepRange& range = {}) { return Read(range).status(); }

  const TemporaryFolder folder_;
};

TEST_F(WhySlowTest, SaysWhatTheStepsWaitedForAndWhatHelps) {
  Write(Step(0, 100, R"([{"rank":0,"decode":90}])") +  // the start, which says nothing
        Step(1, 2, R"([{"rank":0,"server":"grpc://a:1","disk":0.3},{"rank":0,"decode":0.1}])") +
        R"({"step":1,"end_of_epoch":0,"running_digest":"ab","mean_loss":0.5})" + "\n" +
        R"({"step":1,"test_top1":0.5})" + "\n" + Step(2, 2, "[]"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls stalls, Read());
  EXPECT_EQ(stalls.num_steps, 2);
  EXPECT_DOUBLE_EQ(stalls.report.seconds, 4);
  EXPECT_TRUE(LimitedByData(stalls));
  EXPECT_THAT(WhySlowText(stalls),
              AllOf(HasSubstr("Steps 1-2 waited 10.0 % of their time for data, mostly (75 % of it) for the "
                              "disk of the server at grpc://a:1.\nWhat helps: "),
                    HasSubstr("--reader-threads"), Not(HasSubstr("Rank"))));
}

TEST_F(WhySlowTest, TheRankThatWaitsLongestIsTheOneThatAllWaitFor) {
  const std::string of_one = R"({"rank":1,"server":"b","wire":0.6},{"rank":1,"decode":0.1})";
  Write(Step(7, 1, R"([{"rank":0,"disk":0.5},)" + of_one + "]") + Step(8, 1, "[" + of_one + "]") +
        Step(9, 1, R"([{"rank":0,"disk":0.9},)" + of_one + "]"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls stalls, Read());
  EXPECT_NEAR(stalls.report.wait_seconds(), 0.7 + 0.7 + 0.9, 1e-9);
  EXPECT_EQ(stalls.ranks.at(1).num_longest, 2);
  EXPECT_NEAR(stalls.ranks.at(1).wait_seconds, 2.1, 1e-9);
  EXPECT_NEAR(stalls.ranks.at(0).wait_seconds, 1.4, 1e-9);
  EXPECT_THAT(WhySlowText(stalls), AllOf(HasSubstr("the wire from the server at b"),
                                         HasSubstr("Rank 1 waited longest in 2 of 3 steps.")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls last, Read({.first = 9, .last = 20}));
  EXPECT_THAT(WhySlowText(last), HasSubstr("Step 9 waited 90.0 %"));
}

TEST_F(WhySlowTest, SaysWhatWasAskedOfASecondServer) {
  const auto hedged = [](uint64_t step, const std::string& ledger, const std::string& hedges) {
    return absl::StrCat(R"({"step":)", step, R"(,"step_s":1,"wait_share":0.5,"hedges":)", hedges,
                        R"(,"stall_s":)", ledger, "}\n");
  };
  const std::string ledger = R"([{"rank":0,"server":"grpc://a:1","order":0.5}])";
  Write(hedged(1, ledger, R"({"asked":3,"won":1})") + hedged(2, ledger, R"({"asked":2,"won":2})") +
        Step(3, 1, ledger));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls stalls, Read());
  EXPECT_EQ(stalls.hedges.asked, 5);
  EXPECT_EQ(stalls.hedges.won, 3);
  EXPECT_THAT(WhySlowText(stalls),
              HasSubstr(" 5 records were asked of a second server too, 3 came from it first.\nWhat helps: "));
  Write(hedged(1, "[]", R"({"asked":1,"won":0})"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls quick, Read());
  EXPECT_EQ(WhySlowText(quick),
            "Step 1: input wait 0.0 %: not limited by data. 1 record was asked of a second server "
            "too, 0 came from it first.");
  for (const std::string bad : {"3", "{}", R"({"asked":-1,"won":0})", R"({"asked":1,"won":0,"lost":1})"}) {
    Write(hedged(1, "[]", bad));
    EXPECT_THAT(Error(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("two counts"))) << bad;
  }
}

TEST_F(WhySlowTest, ARunThatDoesNotWaitIsToldSo) {
  Write(Step(1, 1, R"([{"rank":0,"disk":0.003}])"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls stalls, Read());
  EXPECT_EQ(WhySlowText(stalls), "Step 1: input wait 0.3 %: not limited by data.");
}

TEST_F(WhySlowTest, TheFirstStepCountsWhereThereIsNoOther) {
  Write(Step(0, 1, R"([{"rank":0,"queue":0.5}])"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls stalls, Read());
  EXPECT_THAT(WhySlowText(stalls), HasSubstr("Step 0 waited 50.0 %"));
}

TEST_F(WhySlowTest, StepsOfAnOlderVersionAreLeftOut) {
  Write(OldStep(0) + OldStep(1));
  EXPECT_THAT(Error(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                AllOf(HasSubstr("the 2 steps in "), HasSubstr("older afterimage-train"))));
  Write(OldStep(0) + OldStep(1) + Step(2, 1, "[]"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls stalls, Read());
  EXPECT_EQ(stalls.num_without, 2);
  EXPECT_EQ(stalls.num_steps, 1);
}

TEST_F(WhySlowTest, SaysWhatIsMissingOrDamaged) {
  EXPECT_THAT(Error(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("has no metrics.jsonl")));
  EXPECT_THAT(ReadRunStalls("/no/such/run", {}).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/run: no such folder")));
  Write("");
  EXPECT_THAT(Error(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("training has not begun")));
  Write(Step(1, 1, "[]"));
  EXPECT_THAT(Error({.first = 5}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("in the range")));
  const std::string good = Step(1, 1, "[]");
  for (const std::string& bad : {std::string("\n"), std::string("{\"step\":\n"), std::string("[]\n"),
                                 Step(2, 1, "{}"), Step(2, 1, R"([{"rank":0,"disk":"x"}])"),
                                 std::string(R"({"step":2,"wait_share":1,"stall_s":[]})") + "\n"}) {
    Write(good + bad + good);
    EXPECT_THAT(Error(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2 is damaged"))) << bad;
  }
}

TEST_F(WhySlowTest, ALineThatIsBeingWrittenIsPassedOver) {
  Write(Step(1, 1, "[]") + Step(2, 1, "[]") + R"({"step":3,"lo)");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RunStalls stalls, Read());
  EXPECT_EQ(stalls.last_step, 2);
}

}  // namespace
}  // namespace afterimage::cli
