// `afterimage why-slow` over the runs that `afterimage-train pretrain` leaves.
#include <signal.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AnyOf;
using testing::Arguments;
using testing::ChildProcess;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using testing::WriteImages;

class WhySlowTest : public ProgramsTest {
 protected:
  explicit WhySlowTest(int num_images = 96) {
    WriteImages(images_, num_images);
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

// Two servers, and a student that takes longer than its input, so that only stalls are waited for.
class SeveralServersWhySlowTest : public WhySlowTest {
 protected:
  static constexpr int kNumStalls = 2;
  static constexpr absl::Duration kStall = absl::Milliseconds(600);

  SeveralServersWhySlowTest() : WhySlowTest(/*num_images=*/384) {}

  // Trains while the second server hangs for some moments, each in the middle of an epoch: what opening one
  // waits for is no server's.
  void TrainWithStalls(const std::string& out, const Arguments& more) {
    Arguments run = {"--width", "128", "--batch-size", "8", "--epochs", "1000", "--credit-bytes", "500000"};
    run.insert(run.end(), more.begin(), more.end());
    ChildProcess trainer(
        PretrainCommand({"--cache", absl::StrCat(quick_.address(), ",", slow_.listen())}, out, run));
    for (int i = 0; i < kNumStalls; ++i) {
      ASSERT_TRUE(WaitForEpoch(trainer)) << trainer.Err();
      absl::SleepFor(absl::Milliseconds(150));
      slow_.process().Signal(SIGSTOP);
      absl::SleepFor(kStall);
      slow_.process().Signal(SIGCONT);
    }
    ASSERT_TRUE(WaitForEpoch(trainer)) << trainer.Err();
    trainer.Signal(SIGTERM);
    const Finished finished = trainer.Wait();
    EXPECT_EQ(finished.status, 128 + SIGTERM) << finished.Text();
  }
  // Until the slow server has sent its part of one more epoch.
  bool WaitForEpoch(ChildProcess& trainer) {
    const size_t before = NumEpochs();
    for (int i = 0; i < 3000 && trainer.Running(); ++i, absl::SleepFor(absl::Milliseconds(10))) {
      if (NumEpochs() > before) return true;
    }
    return false;
  }
  size_t NumEpochs() {
    const std::vector<std::string> parts = absl::StrSplit(slow_.process().Err(), "ReadEpoch");
    return parts.size() - 1;
  }
  // Seconds of the ledger's rows by server; "": none.
  std::map<std::string, double> WaitsByServer(const std::string& run) const {
    std::map<std::string, double> waits;
    for (const Json& step : Steps(run)) {
      for (const Json& row : step["stall_s"]) {
        for (const auto& [name, value] : row.items())
          if (name != "rank" && name != "server") waits[row.value("server", "")] += value.get<double>();
      }
    }
    return waits;
  }

  const Server quick_{Path("cache")};
  Server slow_{Path("cache"), "127.0.0.1:0", {"--log", "streams"}};
};

TEST_F(SeveralServersWhySlowTest, TheServerThatHangsIsNamedAndTheRowsAddUp) {
  TrainWithStalls("run", {"--hedge-after", "off"});
  ExpectAddsUp("run");
  std::map<std::string, double> waits = WaitsByServer("run");
  // What was read ahead covers a part of each stall.
  EXPECT_GT(waits[slow_.address()], kNumStalls * absl::ToDoubleSeconds(kStall) / 2);
  EXPECT_GT(waits[slow_.address()], 2 * waits[quick_.address()]);
  for (const auto& [server, seconds] : waits)
    EXPECT_THAT(server, AnyOf("", quick_.address(), slow_.address()));
  for (const Json& step : Steps("run")) EXPECT_FALSE(step.contains("hedges"));

  // A server that hangs cannot say for what: what it waited for when it began counts.
  const Finished text = Afterimage({"why-slow", Path("run")});
  EXPECT_EQ(text.status, 0) << text.err;
  const std::string sentence = text.out.substr(0, text.out.find('\n'));
  EXPECT_THAT(sentence, HasSubstr(absl::StrCat("the server at ", slow_.address())));
  EXPECT_THAT(text.out, HasSubstr("\nWhat helps: "));
}

TEST_F(SeveralServersWhySlowTest, WhatASecondServerGaveIsCountedAndTheSlowOneStillNamed) {
  TrainWithStalls("run", {"--hedge-after", "50"});
  ExpectAddsUp("run");
  uint64_t asked = 0, won = 0;
  for (const Json& step : Steps("run")) {
    if (!step.contains("hedges")) continue;
    asked += step["hedges"]["asked"].get<uint64_t>();
    won += step["hedges"]["won"].get<uint64_t>();
  }
  EXPECT_GE(won, kNumStalls);
  EXPECT_GE(asked, won);
  const Json summary = Json::parse(ReadFile(Path("run") + "/summary.json").value_or(""));
  EXPECT_EQ(summary["hedges"]["asked"], asked);
  EXPECT_EQ(summary["hedges"]["won"], won);
  std::map<std::string, double> waits = WaitsByServer("run");
  EXPECT_GT(waits[slow_.address()], waits[quick_.address()]);
  EXPECT_THAT(Afterimage({"why-slow", Path("run")}).out, HasSubstr("asked of a second server too"));
}

TEST_F(WhySlowTest, AFineTuningWaitsForPicturesAndSaysSo) {
  const Finished finetune = testing::RunProgram(Command(
      "afterimage-train",
      {"finetune", "--weights", testing::TeacherFile(), "--images", images_, "--out", Path("finetuned"),
       "--batch-size", "16", "--epochs", "2", "--warmup-epochs", "1", "--threads", "1"}));
  ASSERT_EQ(finetune.status, 0) << finetune.Text();
  ExpectAddsUp("finetuned");
  const Finished text = Afterimage({"why-slow", Path("finetuned"), "--json"});
  ASSERT_EQ(text.status, 0) << text.err;
  const Json report = Json::parse(text.out);
  EXPECT_EQ(report["steps"], 2 * 96 / 16 - 1);
  EXPECT_TRUE(report["servers"].empty());
  EXPECT_GT(report["wait_s"], 0);
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
