// `afterimage why-slow` over the runs that `afterimage-train pretrain` leaves.
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AnyOf;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using testing::WriteImages;

class WhySlowTest : public ProgramsTest {
 protected:
  WhySlowTest() {
    WriteImages(images_, 96);
    EXPECT_EQ(Precompute(Path("cache")).status, 0);
  }
  std::vector<Json> Steps(const std::string& run) const {
    std::vector<Json> steps;
    const absl::StatusOr<std::string> text = ReadFile(Path(run) + "/metrics.jsonl");
    EXPECT_TRUE(text.ok());
    for (const absl::string_view line : absl::StrSplit(text.value_or(""), '\n', absl::SkipEmpty())) {
      const Json json = Json::parse(line.begin(), line.end());
      if (json.contains("loss")) steps.push_back(json);
    }
    return steps;
  }
  // The parts against the wait that the trainer measured itself, both over all steps. What lies between the
  // two is the way into BatchFeed::Next and out.
  void ExpectAddsUp(const std::string& run) const {
    double parts = 0, waited = 0;
    for (const Json& step : Steps(run)) {
      ASSERT_TRUE(step.contains("stall_s")) << step.dump();
      waited += step["wait_share"].get<double>() * step["step_s"].get<double>();
      for (const Json& row : step["stall_s"]) {
        for (const auto& [name, value] : row.items())
          if (name != "rank" && name != "server") parts += value.get<double>();
      }
    }
    EXPECT_GT(waited, 0);
    EXPECT_NEAR(parts, waited, 0.02 * waited + 0.005);
  }
};

TEST_F(WhySlowTest, TheLedgerOfARunOverAFolderAndOverAServerAddsUpToItsWait) {
  ASSERT_EQ(Pretrain(Path("cache"), "embedded").status, 0);
  ExpectAddsUp("embedded");
  const Server server(Path("cache"));
  ASSERT_EQ(Pretrain(server.address(), "remote").status, 0);
  ExpectAddsUp("remote");
  // Whether a frame was waited for is a matter of luck, whose it was is not.
  for (const std::string run : {"embedded", "remote"}) {
    for (const Json& step : Steps(run)) {
      for (const Json& row : step["stall_s"]) {
        if (!row.contains("server")) continue;
        EXPECT_EQ(run, "remote");
        EXPECT_EQ(row["server"], server.address());
      }
    }
  }

  const Finished text = Afterimage({"why-slow", Path("remote")});
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, AnyOf(HasSubstr("not limited by data"), HasSubstr("What helps: ")));
  const Finished json = Afterimage({"why-slow", Path("remote"), "--json", "--first-step", "2"});
  ASSERT_EQ(json.status, 0) << json.err;
  const Json report = Json::parse(json.out);
  EXPECT_EQ(report["first_step"], 2);
  EXPECT_EQ(report["last_step"], Steps("remote").back()["step"]);
}

TEST_F(WhySlowTest, BadInputIsToldWithTheRemedy) {
  const Finished missing = Afterimage({"why-slow", Path("nothing")});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("no such folder"));
  EXPECT_THAT(Afterimage({"why-slow", images_}).err, HasSubstr("has no metrics.jsonl"));
  const Finished range = Afterimage({"why-slow", images_, "--first-step", "3", "--last-step", "2"});
  EXPECT_EQ(range.status, 1);
  EXPECT_THAT(range.err, HasSubstr("--first-step is beyond --last-step"));
  EXPECT_EQ(Afterimage({"why-slow"}).status, 2);
}

}  // namespace
}  // namespace afterimage
