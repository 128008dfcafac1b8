#include "trainer/run/step_trace.h"

#include "core/base/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::testing::HasSubstr;

const absl::Time kBegin = absl::FromUnixSeconds(1000);
absl::Time At(int milliseconds) { return kBegin + absl::Milliseconds(milliseconds); }

// The first step's values count for nothing; of 50 ms of sums in the others, 40 are behind backward passes.
void TwoSteps(StepTrace& trace) {
  trace.BeginStep(7);
  trace.Phase("backward", At(0), At(1));
  trace.Sum(0, At(100), At(900), 8);
  trace.EndStep();
  for (int i = 0; i < 2; ++i) {
    trace.BeginStep(8 + i);
    trace.Phase("forward", At(0), At(10));
    trace.Phase("backward", At(10), At(30));
    trace.Phase("forward", At(30), At(40));
    trace.Phase("backward", At(40), At(60));
    trace.Sum(0, At(15), At(30), 8);  // overlaps with the next: counts once
    trace.Sum(1, At(20), At(30), 8);
    trace.Sum(2, At(55), At(65), 8);
    trace.EndStep();
  }
}

TEST(StepTraceTest, TheShareBehindTheBackwardPassIsOfTheUnion) {
  StepTrace trace({.path = "x", .rank = 1, .num_ranks = 2});
  EXPECT_EQ(trace.Summarize().num_steps, 0u);
  TwoSteps(trace);
  const StepTrace::Summary summary = trace.Summarize();
  EXPECT_EQ(summary.num_steps, 2u);
  EXPECT_NEAR(summary.sum_seconds, 0.025, 1e-9);
  EXPECT_NEAR(summary.backward_seconds, 0.040, 1e-9);
  EXPECT_NEAR(summary.hidden_share, 20.0 / 25.0, 1e-9);
  EXPECT_THAT(trace.SummaryText(), HasSubstr("80.0 % of it behind the backward pass"));
}

TEST(StepTraceTest, IsBoundedAndEachRankHasItsFile) {
  const afterimage::testing::TemporaryFolder folder;
  StepTrace trace({.path = (folder / "t.json").string(), .rank = 1, .num_ranks = 2, .num_steps = 2});
  TwoSteps(trace);
  EXPECT_TRUE(trace.complete());
  ASSERT_THAT(trace.Write(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(folder / "t.rank1.json"));
  const Json json = Json::parse(text);
  int num_steps = 0;
  for (const Json& event : json["traceEvents"])
    num_steps += event["name"] == "step 7" || event["name"] == "step 8";
  EXPECT_EQ(num_steps, 2);
  EXPECT_THAT(text, ::testing::Not(HasSubstr("step 9")));
}

TEST(StepTraceTest, CollectsNothingWithoutAFile) {
  StepTrace trace({});
  TwoSteps(trace);
  EXPECT_EQ(trace.Summarize().num_steps, 0u);
}

}  // namespace
}  // namespace afterimage::trainer
