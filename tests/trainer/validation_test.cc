// The loss of a student on features: the one that training saw, and others.
#include "trainer/pretrain/validation.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "gmock/gmock.h"
#include "tests/trainer/pretrain_fixture.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ValidationTest : public testing::PretrainTest {
 protected:
  ValidationOptions Options(const std::string& run) const {
    ValidationOptions options;
    options.checkpoint = Path(run);
    options.batch_size = 8;
    options.num_threads = 1;
    return options;
  }
  ValidationOptions OnCache(const std::string& run) const {
    ValidationOptions options = Options(run);
    options.input.cache = Path("cache");
    return options;
  }
};

TEST_F(ValidationTest, IsTheMeanOfWhatTrainingSaysWhereNothingIsLearnt) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions training = Cached("run");
  training.lr = training.min_lr = 1e-30;
  training.weight_decay = 0;
  training.drop_path = 0;
  training.epochs = 2;
  training.target_norm = "none";
  ASSERT_THAT(Pretrain(training).status(), IsOk());
  const std::map<int, std::string> means = Column("run", "mean_loss");
  ASSERT_EQ(means.size(), 2u);
  for (const auto& [step, epoch] : {std::pair{2, 0}, {5, 1}}) {
    ValidationOptions options = OnCache("run");
    options.epoch = epoch;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Validation result, Validate(options));
    EXPECT_NEAR(result.loss, std::strtod(means.at(step).c_str(), nullptr), 1e-6 * result.loss) << epoch;
    EXPECT_EQ(result.num_samples, 24u);
    EXPECT_EQ(result.step, 6u);
  }
  ValidationOptions short_one = OnCache("run");
  short_one.steps = 1;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Validation result, Validate(short_one));
  EXPECT_EQ(result.num_samples, 8u);
}

TEST_F(ValidationTest, FreshViewsAreOthersAndALiveTeacherSaysWhatTheCacheSays) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  PretrainOptions training = Cached("run");
  training.epochs = 12;
  training.drop_path = 0;
  ASSERT_THAT(Pretrain(training).status(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Validation cached, Validate(OnCache("run")));
  ValidationOptions live = Options("run");
  live.input.teacher.weights = teacher_;
  live.input.images = images_;
  live.input.like = Path("cache");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Validation same, Validate(live));
  EXPECT_EQ(same.loss, cached.loss);
  live.input.like.clear();
  live.input.fresh = true;
  live.input.min_area = LinearRange(1.0 / 3);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Validation fresh, Validate(live));
  EXPECT_NE(fresh.loss, cached.loss);
  live.epoch = 7;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Validation seventh, Validate(live));
  EXPECT_NE(seventh.loss, fresh.loss);
}

TEST_F(ValidationTest, TheAverageOfTheWeightsIsAnotherStudent) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions training = Cached("run");
  training.ema = 0.9;
  ASSERT_THAT(Pretrain(training).status(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Validation last, Validate(OnCache("run")));
  ValidationOptions options = OnCache("run");
  options.average = true;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Validation average, Validate(options));
  EXPECT_NE(last.loss, average.loss);

  ASSERT_THAT(Pretrain(Cached("plain")).status(), IsOk());
  options.checkpoint = Path("plain");
  EXPECT_THAT(Validate(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("trained without --ema")));
}

TEST_F(ValidationTest, WhatDoesNotFitTheStudentIsRefused) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  ASSERT_THAT(Pretrain(Cached("run")).status(), IsOk());
  EXPECT_THAT(Validate(OnCache("nowhere")).status(), ::testing::Not(IsOk()));
  ValidationOptions teacher = OnCache("run");
  teacher.checkpoint = teacher_;
  EXPECT_THAT(Validate(teacher).status(), ::testing::Not(IsOk()));

  const std::string wide = Path("wide.safetensors");
  testing::WriteTeacher(wide, 7, /*width=*/32);
  ValidationOptions live = Options("run");
  live.input.teacher.weights = wide;
  live.input.images = images_;
  EXPECT_THAT(Validate(live).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("align.heads")));

  live.input.teacher.weights = teacher_;
  live.input.teacher.image_size = 24;
  EXPECT_THAT(Validate(live).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("12"), HasSubstr("24"))));
}

}  // namespace
}  // namespace afterimage::trainer
