// What `afterimage stream-bench` reads is what a training run reads.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Arguments;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using testing::WriteImages;

class StreamBenchTest : public ProgramsTest {
 protected:
  StreamBenchTest() {
    WriteImages(images_, 96);
    EXPECT_EQ(Precompute(Path("cache"), {"--view-seeds", "2"}).status, 0);
  }

  Finished StreamBench(const std::string& cache, const Arguments& more = {}) const {
    Arguments all = {"stream-bench", "--cache", cache, "--batch", "16", "--epochs", "4"};
    all.insert(all.end(), more.begin(), more.end());
    return Afterimage(all);
  }
};

TEST_F(StreamBenchTest, PrintsTheRunningDigestsOfATrainingRun) {
  const Finished train = Pretrain(Path("cache"), "run");
  ASSERT_EQ(train.status, 0) << train.Text();
  std::vector<std::string> wanted;
  for (const std::string& line : Losses("run")) {
    if (line.rfind("epoch ", 0) == 0) wanted.push_back(line);
  }
  ASSERT_EQ(wanted.size(), 4);

  const Server server(Path("cache"));
  for (const std::string& cache : {Path("cache"), server.address()}) {
    const Finished bench = StreamBench(cache, {"--ranks", "3", "--json"});
    ASSERT_EQ(bench.status, 0) << bench.Text();
    const Json json = Json::parse(bench.out);
    std::vector<std::string> got;
    for (const Json& epoch : json["digests"])
      got.push_back(absl::StrCat("epoch ", epoch["epoch"].dump(), ": ", epoch["running_digest"].dump()));
    EXPECT_EQ(got, wanted);
    EXPECT_EQ(json["records"], 4 * 96);
    EXPECT_GT(json["gb_per_s"], 0);
    // The ledger is what the ranks waited, to the microsecond of its many parts.
    double parts = 0;
    for (const auto& [name, seconds] : json["stalls"]["parts"].items()) parts += seconds.get<double>();
    const double waited = json["opening_s"].get<double>() + json["waiting_s"].get<double>();
    EXPECT_NEAR(parts, waited, 0.02 * waited);
    EXPECT_EQ(json["stalls"]["servers"].contains(cache), cache != Path("cache"));
    EXPECT_FALSE(json["stall_s"].empty());
    EXPECT_EQ(json["server_peak_bytes"].is_null(), cache == Path("cache"));
  }
}

TEST_F(StreamBenchTest, SaysWhatAnOperatorWantsToKnowFirst) {
  const Server server(Path("cache"));
  const Finished remote = StreamBench(server.address());
  EXPECT_EQ(remote.status, 0) << remote.err;
  EXPECT_THAT(remote.out, AllOf(HasSubstr("records/s"), HasSubstr("GB/s"), HasSubstr("client "),
                                HasSubstr("its whole process"), HasSubstr("digest "), HasSubstr("epoch 3"),
                                HasSubstr("its bytes    came 0 % through shared memory"),
                                HasSubstr("stall ledger The ranks waited "), HasSubstr("credit    wire")));
  EXPECT_THAT(StreamBench(Path("cache")).out, HasSubstr("the folder is read in this process"));
}

TEST_F(StreamBenchTest, ListsTheRecordsOfAStep) {
  const Server server(Path("cache"));
  std::string wanted;
  for (const std::string& cache : {Path("cache"), server.address()}) {
    const Finished list = Afterimage({"stream-bench", "--cache", cache, "--batch", "16", "--positions",
                                      "32-47", "--first-epoch", "1", "--verify"});
    ASSERT_EQ(list.status, 0) << list.err;
    const std::vector<std::string> lines = absl::StrSplit(list.out, '\n', absl::SkipEmpty());
    ASSERT_EQ(lines.size(), 16);
    EXPECT_THAT(lines.front(),
                AllOf(HasSubstr("position 32, step 2: record "), HasSubstr("/1, mask 0, OK, ")));
    if (wanted.empty()) wanted = list.out;
    EXPECT_EQ(list.out, wanted);
  }
  const Finished refused =
      Afterimage({"stream-bench", "--cache", Path("cache"), "--batch", "16", "--positions", "90-96"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("97"));
}

TEST_F(StreamBenchTest, RefusesWhatTheSetDoesNotHave) {
  const auto error = [&](const Arguments& more) {
    const Finished finished = StreamBench(Path("cache"), more);
    EXPECT_NE(finished.status, 0);
    return finished.err;
  };
  EXPECT_THAT(error({"--view-seeds", "3"}), AllOf(HasSubstr("--view-seeds 3"), HasSubstr("holds 2")));
  EXPECT_THAT(error({"--levels", "9"}), HasSubstr("9"));
  EXPECT_THAT(error({"--tokens", "some"}), HasSubstr("visible"));
  EXPECT_THAT(error({"--credit", "10"}), HasSubstr("credit"));
}

}  // namespace
}  // namespace afterimage
