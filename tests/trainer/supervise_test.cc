// Supervised training and k-NN on pictures that a small network can tell apart.
#include <filesystem>

#include "core/base/files.h"
#include "core/base/stop_signal.h"
#include "core/vit/teacher_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/run/event_reader.h"
#include "tests/trainer/small_world.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/evaluation/knn_evaluation.h"
#include "trainer/supervise/supervised_trainer.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

class SuperviseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResetStopForTest();
    testing::WriteImages(Path("train"), {.num_images = 64});
    testing::WriteImages(Path("test"), {.num_images = 32, .seed = 2});
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  SupervisedOptions Options(const std::string& out) const {
    SupervisedOptions options;
    options.run.images = Path("train");
    options.run.test_images = Path("test");
    options.run.out = Path(out);
    options.image_size = 12;
    options.patch_size = 3;
    options.width = 16;
    options.depth = 2;
    options.heads = 2;
    options.run.flip = false;  // left and right are the classes
    options.run.min_area = {4, 5};
    options.run.batch_size = 16;
    options.run.epochs = 12;
    options.run.lr = 3e-3;
    options.run.warmup_epochs = 1;
    options.run.num_threads = 1;
    return options;
  }
  const afterimage::testing::TemporaryFolder folder_;
};

TEST_F(SuperviseTest, LearnsAndTheExportedFileIsATeacher) {
  SupervisedOptions options = Options("run");
  options.run.export_dtype = "f16";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary summary, TrainSupervised(options));
  EXPECT_EQ(summary.steps, 48u);
  EXPECT_GT(summary.test->top1(), 0.9);
  TeacherOptions teacher;
  teacher.weights = summary.weights;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner, TeacherRunner::Load(teacher));
  EXPECT_EQ(runner->view_size(), 12u);

  KnnEvaluationOptions knn{.weights = summary.weights,
                           .images = Path("train"),
                           .test_images = Path("test"),
                           .ks = {5},
                           .num_threads = 1};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const KnnEvaluation trained, EvaluateKnn(knn));
  EXPECT_GT(trained.accuracies[0], 0.9);
  EXPECT_EQ(trained.width, 32u);
  knn.untrained = true;
  EXPECT_THAT(EvaluateKnn(knn).status(), IsOk());
  knn.untrained = false;
  knn.raw_pixels = true;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const KnnEvaluation raw, EvaluateKnn(knn));
  EXPECT_EQ(raw.width, 12u * 12 * 3);
}

TEST_F(SuperviseTest, AResumedRunEndsWithTheWeightsOfAnUninterruptedOne) {
  SupervisedOptions options = Options("whole");
  options.run.epochs = 4;
  ASSERT_THAT(TrainSupervised(options).status(), IsOk());
  options.run.out = Path("parts");
  RequestStop();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary none, TrainSupervised(options));
  EXPECT_TRUE(none.stopped);
  ResetStopForTest();
  ASSERT_THAT(TrainSupervised(options).status(), IsOk());
  std::filesystem::remove(Path("parts") + "/checkpoint-16.safetensors");  // back to the end of epoch 3
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary rest, TrainSupervised(options));
  EXPECT_EQ(rest.steps, 16u);
  const auto bytes = [&](const std::string& run) { return *ReadFile(Path(run) + "/model.safetensors"); };
  EXPECT_TRUE(bytes("whole") == bytes("parts"));
  options.run.lr = 1e-4;
  EXPECT_THAT(TrainSupervised(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("\"lr\"")));
}

TEST_F(SuperviseTest, CurvesGoToTensorBoardAndTheBestStateIsThatOfTheHighestAccuracy) {
  SupervisedOptions options = Options("run");
  options.run.epochs = 3;
  ASSERT_THAT(TrainSupervised(options).status(), IsOk());
  size_t num_steps = 0;
  uint64_t best_step = 0;
  float best = -1;
  for (const testing::ReadEvent& event : testing::ReadEventFolder(options.run.out)) {
    num_steps += event.tag == "train/loss";
    if (event.tag != "test/top1" || event.scalar <= best) continue;
    best = event.scalar;
    best_step = static_cast<uint64_t>(event.step) + 1;
  }
  EXPECT_EQ(num_steps, 12u);
  EXPECT_GT(best, 0.4f);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint,
                                  ReadCheckpoint(options.run.out + "/best.safetensors"));
  EXPECT_EQ(checkpoint.step, best_step);
}

TEST_F(SuperviseTest, PicturesWithoutLabelsAndOtherClassesAreRefused) {
  SupervisedOptions options = Options("run");
  options.run.images = Path("train/left");
  options.run.test_images = "";
  EXPECT_THAT(TrainSupervised(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no label")));
  std::filesystem::rename(Path("test/left"), Path("test/top"));
  EXPECT_THAT(TrainSupervised(Options("run")).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the classes of")));
}

}  // namespace
}  // namespace afterimage::trainer
