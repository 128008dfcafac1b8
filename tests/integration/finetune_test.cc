// Fine-tuning as a user runs it: kill -9 and resume to the bit, a clean stop, evaluation, export, refusals.
#include <signal.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Arguments;
using testing::ChildProcess;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::TeacherFile;
using testing::WriteImages;

constexpr int kKilled = 128 + SIGKILL;

class FinetuneTest : public ProgramsTest {
 protected:
  FinetuneTest() {
    WriteImages(images_, 64);
    WriteImages(Path("test"), 16, /*first=*/100);
  }
  static Finished Train(const Arguments& arguments) {
    return testing::RunProgram(Command("afterimage-train", arguments));
  }

  // All that is random is on; a step takes some milliseconds.
  Arguments FinetuneCommand(const std::string& out, const Arguments& more = {}) const {
    Arguments arguments = {"finetune",
                           "--weights",
                           TeacherFile(),
                           "--images",
                           images_,
                           "--test-images",
                           Path("test"),
                           "--out",
                           Path(out),
                           "--recipe",
                           "finetune-tiny-32px",
                           "--batch-size",
                           "16",
                           "--epochs",
                           "6",
                           "--warmup-epochs",
                           "1",
                           "--threads",
                           "1",
                           "--ema",
                           "0.9",
                           "--checkpoint-every",
                           "3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Command("afterimage-train", arguments);
  }
  // What must be equal: losses to the last bit, rates, evaluations.
  std::vector<std::string> Metrics(const std::string& out) const {
    std::vector<std::string> lines;
    const absl::StatusOr<std::string> text = ReadFile(Path(out) + "/metrics.jsonl");
    EXPECT_TRUE(text.ok()) << text.status();
    for (const absl::string_view line : absl::StrSplit(text.value_or(""), '\n', absl::SkipEmpty())) {
      Json json = Json::parse(line.begin(), line.end());
      json.erase("images_per_s");
      json.erase("wait_share");
      json.erase("step_s");
      json.erase("stall_s");
      lines.push_back(json.dump());
    }
    return lines;
  }
  std::string Model(const std::string& out) const {
    return ReadFile(Path(out) + "/model.safetensors").value_or("no model of " + out);
  }
  bool WaitForCheckpoint(const std::string& out, uint64_t after, ChildProcess& trainer,
                         uint64_t& step) const {
    while (trainer.Running()) {
      if (std::filesystem::exists(Path(out))) {
        for (const auto& entry : std::filesystem::directory_iterator(Path(out))) {
          const std::string name = entry.path().filename().string();
          if (!absl::StartsWith(name, "checkpoint-") || entry.path().extension() != ".safetensors") continue;
          step = std::stoull(name.substr(11));
          if (step > after) return true;
        }
      }
      absl::SleepFor(absl::Milliseconds(2));
    }
    return false;
  }
};

TEST_F(FinetuneTest, AKilledRunGoesOnToTheBit) {
  const Finished whole = testing::RunProgram(FinetuneCommand("whole"));
  ASSERT_EQ(whole.status, 0) << whole.Text();
  EXPECT_THAT(whole.out, HasSubstr("model.safetensors: 24 steps"));
  uint64_t step = 0;
  for (int life = 0; life < 2; ++life) {
    ChildProcess trainer(FinetuneCommand("killed"));
    ASSERT_TRUE(WaitForCheckpoint("killed", step, trainer, step)) << trainer.Err();
    trainer.Signal(SIGKILL);
    ASSERT_EQ(trainer.Wait().status, kKilled) << "it was done before it was killed";
  }
  const Finished rest = testing::RunProgram(FinetuneCommand("killed"));
  ASSERT_EQ(rest.status, 0) << rest.Text();
  EXPECT_THAT(rest.err, HasSubstr("going on from " + Path("killed/checkpoint-")));
  EXPECT_EQ(Metrics("killed"), Metrics("whole"));
  EXPECT_TRUE(Model("killed") == Model("whole"));
}

TEST_F(FinetuneTest, AStoppedRunSavesAndGoesOn) {
  ASSERT_EQ(testing::RunProgram(FinetuneCommand("whole")).status, 0);
  uint64_t step = 0;
  {
    ChildProcess trainer(FinetuneCommand("stopped"));
    ASSERT_TRUE(WaitForCheckpoint("stopped", 0, trainer, step)) << trainer.Err();
    trainer.Signal(SIGTERM);
    const Finished stopped = trainer.Wait();
    EXPECT_EQ(stopped.status, 128 + SIGTERM) << stopped.Text();
    EXPECT_THAT(stopped.out, HasSubstr("the same command goes on"));
  }
  ASSERT_EQ(testing::RunProgram(FinetuneCommand("stopped")).status, 0);
  EXPECT_EQ(Metrics("stopped"), Metrics("whole"));
  EXPECT_TRUE(Model("stopped") == Model("whole"));
}

TEST_F(FinetuneTest, TheModelIsEvaluatedProbedAndSearched) {
  ASSERT_EQ(testing::RunProgram(FinetuneCommand("run")).status, 0);
  const Finished evaluated =
      Train({"evaluate", "--weights", Path("run"), "--images", Path("test"), "--json"});
  ASSERT_EQ(evaluated.status, 0) << evaluated.Text();
  const Json report = Json::parse(evaluated.out);
  EXPECT_EQ(report["num_images"], 16);
  EXPECT_EQ(report["classes"].size(), 2u);
  EXPECT_EQ(report["classes"][0]["num_images"], 8);
  const Json summary = Json::parse(*ReadFile(Path("run/summary.json")));
  EXPECT_EQ(report["top1"], summary["test_top1"]);
  EXPECT_EQ(report["loss"], summary["test_loss"]);
  const Finished table =
      Train({"evaluate", "--weights", Path("run/best_model.safetensors"), "--images", Path("test")});
  EXPECT_THAT(table.out, AllOf(HasSubstr("class  images  top-1"), HasSubstr("(16 images)")));

  const Finished exported =
      Train({"export", "--checkpoint", Path("run"), "--out", Path("m.safetensors"), "--ema"});
  EXPECT_EQ(exported.status, 0) << exported.Text();
  EXPECT_TRUE(*ReadFile(Path("m.safetensors")) == Model("run"));

  const Finished knn = Train({"knn", "--weights", Path("m.safetensors"), "--images", images_, "--test-images",
                              Path("test"), "--k", "1,7", "--json"});
  ASSERT_EQ(knn.status, 0) << knn.Text();
  EXPECT_EQ(Json::parse(knn.out)["knn"].size(), 2u);
  const Finished probe =
      Train({"probe", "--weights", TeacherFile(), "--images", images_, "--test-images", Path("test"), "--out",
             Path("probe"), "--batch-size", "16", "--epochs", "11", "--crops", "none", "--threads", "1"});
  EXPECT_EQ(probe.status, 0) << probe.Text();
  EXPECT_EQ(Train({"evaluate", "--weights", Path("probe"), "--images", Path("test")}).status, 0);
}

TEST_F(FinetuneTest, RefusalsNameTheThingAndTheRemedy) {
  const auto refused = [&](const Arguments& arguments, const std::string& text) {
    const Finished finished = Train(arguments);
    EXPECT_NE(finished.status, 0);
    EXPECT_THAT(finished.err, HasSubstr(text));
  };
  refused({"finetune", "--images", images_, "--out", Path("x")}, "--weights is required");
  refused({"finetune", "--weights", TeacherFile(), "--images", images_, "--out", Path("x"), "--rand-augment",
           "m9"},
          "rand-m9-mstd0.5-inc1");
  refused(
      {"knn", "--weights", TeacherFile(), "--images", images_, "--test-images", Path("test"), "--k", "65"},
      "64 training images");
  refused({"evaluate", "--weights", TeacherFile(), "--images", Path("test")}, "2 classes");
  ASSERT_EQ(testing::RunProgram(FinetuneCommand("run", {"--steps", "3"})).status, 0);
  std::filesystem::rename(Path("test/b"), Path("test/c"));
  refused({"evaluate", "--weights", Path("run"), "--images", Path("test")},
          "number 1 is \"c\", wanted is \"b\"");
  const Finished print = Train({"finetune", "--recipe", "finetune-vit-l16", "--print-config", "--no-flip"});
  EXPECT_EQ(print.status, 0) << print.Text();
  EXPECT_THAT(print.out, AllOf(HasSubstr("layer-decay = 0.75"), HasSubstr("# recipe finetune-vit-l16"),
                               HasSubstr("flip = false")));
}

}  // namespace
}  // namespace afterimage
