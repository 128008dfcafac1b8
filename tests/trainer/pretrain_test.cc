// Pre-training end to end on a small data set: cached and on-line runs, resuming, what stops a run.
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/stop_signal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/pretrain_fixture.h"
#include "tests/trainer/small_world.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/export_network.h"
#include "trainer/pretrain/pretrainer.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::PretrainTest;

TEST_F(PretrainTest, LossesFromTheCacheAreThoseOnLineBitForBit) {
  for (const TokenPolicy policy : {TokenPolicy::kAll, TokenPolicy::kVisible}) {
    const std::string tag = policy == TokenPolicy::kAll ? "all" : "visible";
    SCOPED_TRACE(tag);
    MakeCache("cache", policy, Codec::kF32);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary cached, Pretrain(Cached("cached-" + tag)));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary live, Pretrain(OnLine("live-" + tag)));
    EXPECT_EQ(cached.steps, 12u);
    EXPECT_EQ(Losses("cached-" + tag).size(), 12u);
    EXPECT_EQ(Losses("cached-" + tag), Losses("live-" + tag));
    EXPECT_EQ(Digests("cached-" + tag).size(), 4u);
    EXPECT_EQ(Digests("cached-" + tag), Digests("live-" + tag));
    std::filesystem::remove_all(Path("cache"));
  }
}

TEST_F(PretrainTest, ViewsMadeAgainFromTheImagesGiveTheLossesOfStoredPixels) {
  MakeCache("with", TokenPolicy::kAll, Codec::kF32, /*pixels=*/true);
  MakeCache("without", TokenPolicy::kAll, Codec::kF32, /*pixels=*/false);
  ASSERT_THAT(Pretrain(Cached("a", "with")).status(), IsOk());
  PretrainOptions options = Cached("b", "without");
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--images")));
  options.input.images = images_;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  EXPECT_EQ(Losses("a"), Losses("b"));
}

TEST_F(PretrainTest, TheLossFalls) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions options = Cached("run");
  options.epochs = 40;
  options.lr = 5e-3;
  options.drop_path = 0;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary summary, Pretrain(options));
  const double first = std::strtod(Losses("run").begin()->second.c_str(), nullptr);
  EXPECT_LT(summary.last_loss, 0.5 * first);
}

TEST_F(PretrainTest, AStoppedAndResumedRunGoesOnBitForBit) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  ASSERT_THAT(Pretrain(Cached("whole")).status(), IsOk());
  // Stops inside the second epoch.
  PretrainOptions part = Cached("parts");
  part.steps = 5;
  ASSERT_THAT(Pretrain(part).status(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary rest, Pretrain(Cached("parts")));
  EXPECT_EQ(rest.steps, 12u);
  EXPECT_EQ(Losses("whole"), Losses("parts"));
  EXPECT_EQ(Digests("whole"), Digests("parts"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string one,
                                  ReadFile(Path("whole") + "/checkpoint-12.safetensors"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string other,
                                  ReadFile(Path("parts") + "/checkpoint-12.safetensors"));
  EXPECT_TRUE(one == other);
}

TEST_F(PretrainTest, AKilledRunRepeatsTheStepsAfterItsLastCheckpoint) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  ASSERT_THAT(Pretrain(Cached("whole")).status(), IsOk());
  PretrainOptions part = Cached("killed");
  part.steps = 8;
  part.checkpoint_every = {3};
  ASSERT_THAT(Pretrain(part).status(), IsOk());
  std::filesystem::remove(Path("killed") +
                          "/checkpoint-8.safetensors");  // as if it had been killed after step 7
  part.steps = 0;
  ASSERT_THAT(Pretrain(part).status(), IsOk());
  EXPECT_EQ(Losses("whole"), Losses("killed"));
}

TEST_F(PretrainTest, AStopRequestSavesTheStepsDone) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  RequestStop();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary summary, Pretrain(Cached("run")));
  EXPECT_TRUE(summary.stopped);
  EXPECT_EQ(summary.steps, 0u);
  EXPECT_TRUE(std::filesystem::exists(summary.checkpoint));
  ResetStopForTest();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary rest, Pretrain(Cached("run")));
  EXPECT_EQ(rest.steps, 12u);
}

TEST_F(PretrainTest, AnotherConfigurationIsRefusedByName) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions options = Cached("run");
  options.steps = 2;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  PretrainOptions other = options;
  other.weight_decay = 0.1;
  EXPECT_THAT(Pretrain(other).status(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                 HasSubstr("\"weight_decay\": \"0.05\", this run \"0.1\"")));
  other.batch_size = 4;
  other.accumulate = 2;
  EXPECT_THAT(Pretrain(other).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("\"accumulate\": 1, this run 2; \"batch_size\": 8, this run 4; "),
                             HasSubstr("\"weight_decay\""), HasSubstr("--no-resume"))));
  other = options;
  other.input.mask_ratio = LinearRange(0.7, 0.5);
  EXPECT_THAT(Pretrain(other).status(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                 HasSubstr("\"mask_ratio\": absent, this run \"0.7:0.5\"")));
  other = options;
  other.input.mask_seed = 9;
  EXPECT_THAT(Pretrain(other).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another order")));
  other.resume = false;
  EXPECT_THAT(Pretrain(other).status(), IsOk());
}

TEST_F(PretrainTest, UndecodablePicturesWeighNothingWhetherCachedOrOnLine) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32, true, /*num_undecodable=*/2);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary cached, Pretrain(Cached("cached")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary live, Pretrain(OnLine("live")));
  EXPECT_GT(cached.num_failed, 0u);
  EXPECT_EQ(cached.num_failed, live.num_failed);
  EXPECT_EQ(Losses("cached"), Losses("live"));
}

TEST_F(PretrainTest, ASetOfFewerViewSeedsThanAskedForAndAbsentLevelsAreRefused) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions options = Cached("run");
  options.input.view_seeds = 3;
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the set holds 2")));
  options = Cached("run");
  options.loss_weights = "mean";
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("teacher level 1")));
  options = Cached("run");
  options.depth = 4;
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the student has 4 blocks and the teacher 3 levels: use --fusion sum")));
  options.fusion = "sum";
  options.steps = 1;
  EXPECT_THAT(Pretrain(options).status(), IsOk());
  options = Cached("run");
  options.target_norm = "bn";
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot come from a cache")));
}

TEST_F(PretrainTest, ALiveTeacherOfOtherWeightsOrOverOtherImagesIsRefused) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  testing::WriteTeacher(Path("other.safetensors"), /*seed=*/8);
  PretrainOptions options = OnLine("run");
  options.input.teacher.weights = Path("other.safetensors");
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("the set holds")));
  testing::WriteImages(Path("more"), {.num_images = 10, .seed = 5});
  options = OnLine("run");
  options.input.images = Path("more");
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--images has manifest")));
}

TEST_F(PretrainTest, EveryTargetNormLossAndHeadTrains) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  int run = 0;
  for (const char* norm : {"none", "l2"}) {
    for (const char* head : {"mlp", "mlp2"}) {
      PretrainOptions options = Cached(absl::StrCat("run", run++));
      options.target_norm = norm;
      options.head = head;
      options.fusion = "simple";
      options.loss_type = "l1";
      options.input.mask_ratio = 0.0;  // nothing masked
      options.steps = 2;
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary summary, Pretrain(options));
      EXPECT_GT(summary.last_loss, 0);
    }
  }
}

TEST_F(PretrainTest, AnExportedStudentIsATeacherForTheNextRun) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions options = Cached("run");
  options.steps = 2;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  const std::string student = Path("student.safetensors");
  ASSERT_THAT(ExportNetwork({.checkpoint = Path("run"), .out = student, .dtype = "f16"}).status(), IsOk());
  TeacherOptions teacher;
  teacher.weights = student;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner, TeacherRunner::Load(teacher));
  EXPECT_EQ(runner->view_size(), 12u);
  EXPECT_EQ(runner->geometry(), (TeacherGeometry{.num_levels = 3, .width = 16, .grid = 4}));
  EXPECT_THAT(ExportNetwork({.checkpoint = Path("nothing"), .out = Path("x")}).status(),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace afterimage::trainer
