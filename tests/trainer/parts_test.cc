// The parts that the trainers are made of: initial values, optimiser, checkpoints, weights files, masks of
// drop path.
#include <ATen/ATen.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/loss/alignment_loss.h"
#include "trainer/loss/level_weights.h"
#include "trainer/model/alignment.h"
#include "trainer/model/classifier.h"
#include "trainer/model/drop_path.h"
#include "trainer/model/student.h"
#include "trainer/model/vit_init.h"
#include "trainer/model/weights_file.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/schedule.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

VitConfig SmallVit() {
  return {.image_size = 12, .patch_size = 3, .width = 16, .depth = 3, .heads = 2, .mlp_width = 64};
}

AlignmentConfig SmallAlignment() {
  return {.levels = {2, 3},
          .num_teacher_levels = 3,
          .teacher_width = 20,
          .student_depth = 3,
          .student_width = 16};
}

TEST(LevelWeightsTest, KnownWeightingsFollowTheReference) {
  EXPECT_THAT(LevelWeights("top2", 4), IsOkAndHolds(ElementsAre(0, 0, 0.5, 0.5)));
  EXPECT_THAT(LevelWeights("top5", 2), IsOkAndHolds(ElementsAre(0.2, 0.2)));
  EXPECT_THAT(LevelWeights("mean", 4), IsOkAndHolds(ElementsAre(0.25, 0.25, 0.25, 0.25)));
  EXPECT_THAT(LevelWeights("out", 3), IsOkAndHolds(ElementsAre(0, 0, 1)));
  EXPECT_THAT(LevelWeights("mid1", 3), IsOkAndHolds(ElementsAre(0, 1, 0)));
  EXPECT_THAT(LevelWeights("linear_decay", 3), IsOkAndHolds(ElementsAre(0, 1.0 / 3, 2.0 / 3)));
  EXPECT_THAT(LevelWeights("mid3", 3), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0..2")));
  EXPECT_THAT(LevelWeights("best", 3), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("topK")));
}

TEST(WarmupCosineTest, StartsAtZeroPeaksAfterTheWarmUpAndEndsAtTheMinimum) {
  const WarmupCosine schedule{.lr = 1.0, .min_lr = 0.1, .warmup = 2, .total = 10};
  EXPECT_EQ(schedule.At(0), 0.0);
  EXPECT_EQ(schedule.At(1), 0.5);
  EXPECT_EQ(schedule.At(2), 1.0);
  EXPECT_NEAR(schedule.At(6), 0.55, 1e-12);
  EXPECT_NEAR(schedule.At(10), 0.1, 1e-12);
  EXPECT_NEAR(schedule.At(11), 0.1, 1e-12);
}

TEST(AlignmentLossTest, SmoothL1HasTheReferencesFactorTwo) {
  const at::Tensor zero = at::zeros({1, 1, 1});
  EXPECT_FLOAT_EQ(AlignmentLoss(LossType::kSmoothL1, {1}, {at::full({1, 1, 1}, 2.0)}, {zero}).item<float>(),
                  3.0f);
  EXPECT_FLOAT_EQ(AlignmentLoss(LossType::kSmoothL1, {1}, {at::full({1, 1, 1}, 0.5)}, {zero}).item<float>(),
                  0.25f);
  EXPECT_FLOAT_EQ(
      AlignmentLoss(LossType::kL2, {0.5, 0.5}, {at::full({1, 1, 1}, 2.0), zero}, {zero, zero}).item<float>(),
      2.0f);
}

TEST(DropPathTest, IsAPureFunctionOfSeedAndStepWithTheRightRates) {
  EXPECT_FALSE(DropPathFactors(0, 4, 8, 1, 1).defined());
  const at::Tensor factors = DropPathFactors(0.3, 4, 20000, 5, 17);
  EXPECT_TRUE(at::equal(factors, DropPathFactors(0.3, 4, 20000, 5, 17)));
  EXPECT_FALSE(at::equal(factors, DropPathFactors(0.3, 4, 20000, 5, 18)));
  EXPECT_FALSE(at::equal(factors, DropPathFactors(0.3, 4, 20000, 6, 17)));
  for (int64_t block = 0; block < 4; ++block) {
    const double rate = 0.1 * static_cast<double>(block);
    for (int64_t branch = 0; branch < 2; ++branch) {
      const at::Tensor row = factors[block][branch];
      EXPECT_NEAR(row.eq(0).to(at::kDouble).mean().item<double>(), rate, 0.02);
      EXPECT_FLOAT_EQ(row.max().item<float>(), static_cast<float>(1 / (1 - rate)));
    }
  }
  EXPECT_FALSE(at::equal(factors[3][0], factors[3][1]));
  // A part of the batch has the factors of its samples.
  const std::vector<uint32_t> part = {7, 3, 19999};
  const at::Tensor of_part = DropPathFactors(0.3, 4, part, 5, 17);
  for (int64_t i = 0; i < 3; ++i)
    EXPECT_TRUE(at::equal(of_part.select(2, i), factors.select(2, static_cast<int64_t>(part[i]))));
}

TEST(VitInitTest, ValuesAreThoseOfTheReference) {
  const VitConfig config = SmallVit();
  const ParameterMap parameters = NewVit(config, 1);
  EXPECT_EQ(parameters.size(), VitParameterShapes(config).size());
  // qkv is one 16 x 48 matrix; the patch convolution a 27 x 16 one.
  const double qkv_bound = std::sqrt(6.0 / (16 + 48)), patch_bound = std::sqrt(6.0 / (27 + 16));
  EXPECT_LE(parameters.at("blocks.0.attn.qkv.weight").abs().max().item<double>(), qkv_bound);
  EXPECT_GT(parameters.at("blocks.0.attn.qkv.weight").abs().max().item<double>(), 0.9 * qkv_bound);
  EXPECT_LE(parameters.at("patch_embed.proj.weight").abs().max().item<double>(), patch_bound);
  EXPECT_GT(parameters.at("patch_embed.proj.weight").abs().max().item<double>(), 0.9 * patch_bound);
  EXPECT_GT(parameters.at("patch_embed.proj.bias").abs().max().item<double>(), 0);
  EXPECT_LE(parameters.at("patch_embed.proj.bias").abs().max().item<double>(), 1 / std::sqrt(27.0));
  EXPECT_TRUE(parameters.at("blocks.1.norm1.weight").eq(1).all().item<bool>());
  EXPECT_TRUE(parameters.at("blocks.1.mlp.fc1.bias").eq(0).all().item<bool>());
  EXPECT_TRUE(at::equal(NewVit(config, 1).at("cls_token"), parameters.at("cls_token")));
  EXPECT_FALSE(at::equal(NewVit(config, 2).at("cls_token"), parameters.at("cls_token")));
}

TEST(AlignmentTest, TheMixStartsNearTheIdentityAndOnlyWeighedLevelsHaveHeads) {
  AlignmentConfig config = SmallAlignment();
  const ParameterMap parameters = NewAlignment(config, 0);
  EXPECT_EQ(parameters.size(), 5u);
  const at::Tensor wanted = at::tensor({0.01f, 1.01f, 0.01f, 0.01f, 0.01f, 1.01f}).view({2, 3});
  EXPECT_TRUE(at::allclose(parameters.at("align.mix"), wanted));
  EXPECT_EQ(parameters.at("align.heads.3.weight").sizes(), (std::vector<int64_t>{20, 16}));
  config.fusion = Fusion::kSum;
  config.student_depth = 4;
  EXPECT_THAT(config.Validate(), IsOk());
  EXPECT_TRUE(at::allclose(NewAlignment(config, 0).at("align.mix"), at::full({2, 4}, 0.25)));
  config.fusion = Fusion::kSimple;
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--fusion sum")));
  EXPECT_FALSE(NewAlignment(SmallAlignment(), 0).contains("align.heads.1.weight"));
}

TEST(AlignmentTest, LevelsThatTheTeacherDoesNotHaveAreRefused) {
  AlignmentConfig config = SmallAlignment();
  config.levels = {2, 4};
  EXPECT_THAT(config.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("level 4 does not exist: the teacher has levels 1 to 3")));
  config.levels = {0, 1};
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("level 0")));
  config.levels = {3, 2};
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ascending")));
  config.levels = {};
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no teacher level")));
}

TEST(StudentTest, ArchitecturesThatCannotBeAreRefusedBeforeAnyParameterIsMade) {
  const auto refusal = [](VitConfig vit) { return Student::Create(vit, {SmallAlignment()}, 0).status(); };
  VitConfig heads = SmallVit(), patches = SmallVit();
  heads.heads = 3;
  EXPECT_THAT(refusal(heads), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("3 heads do not divide a width of 16: choose")));
  patches.patch_size = 5;
  EXPECT_THAT(refusal(patches),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("patches of 5 pixels do not divide an image of 12: choose")));
}

TEST(StudentTest, GatheredPixelRowsGiveWhatTheWholeViewGives) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Student student, Student::Create(SmallVit(), {SmallAlignment()}, 3));
  const at::Tensor view = at::randint(256, {2, 12, 12, 3}, at::kByte);
  for (const std::vector<int64_t>& picks :
       {std::vector<int64_t>{7, 0, 12}, {15, 3, 1, 0, 2, 4, 5, 6, 14, 13, 12, 11, 10, 9, 8, 7}}) {
    const at::Tensor visible = at::tensor(picks).repeat({2, 1});
    // Records hold patch rows of (row, column, channel) bytes.
    const at::Tensor patch_major =
        view.view({2, 4, 3, 4, 3, 3}).permute({0, 1, 3, 2, 4, 5}).reshape({2, 16, 27});
    const at::Tensor gathered =
        patch_major.gather(1, visible.unsqueeze(-1).expand({2, static_cast<int64_t>(picks.size()), 27}));
    const std::vector<at::Tensor> aligned = student.Predict(gathered, visible, {});

    VitForwardOptions options;
    options.visible = visible;
    const at::Tensor rows = ViewRows(
        NormalizePixels(view, *ParseTriple("0.485,0.456,0.406"), *ParseTriple("0.229,0.224,0.225")), 3);
    const std::vector<at::Tensor> wanted =
        Align(student.alignments().front(), student.parameters(),
              VitForward(student.vit(), student.parameters(), rows, options).hidden);
    ASSERT_EQ(aligned.size(), 2u);
    for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::allclose(aligned[i], wanted[i], 1e-4, 1e-5));
  }
}

TEST(StudentTest, GradientsReachAllThatIsTrainedAndNothingElse) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Student student, Student::Create(SmallVit(), {SmallAlignment()}, 3));
  const std::vector<at::Tensor> aligned =
      student.Predict(at::randint(256, {2, 3, 27}, at::kByte), at::tensor({7, 0, 12}).repeat({2, 1}), {});
  AlignmentLoss(LossType::kL2, {0.5, 0.5}, aligned, {at::zeros_like(aligned[0]), at::zeros_like(aligned[1])})
      .backward();
  for (const auto& [name, parameter] : student.parameters()) {
    const bool fixed = name == "pos_embed" || name == "norm.weight" || name == "norm.bias";
    EXPECT_EQ(parameter.grad().defined(), !fixed) << name;
    if (!fixed) {
      EXPECT_GT(parameter.grad().abs().max().item<float>(), 0) << name;
    }
  }
}

TEST(AdamWTest, GroupsAreChosenByNameAndParametersWithoutGradientStay) {
  ParameterMap parameters = {
      {"cls_token", at::ones({1, 1, 2})},         {"blocks.0.mlp.fc1.weight", at::ones({2, 2})},
      {"blocks.0.mlp.fc1.bias", at::ones({2})},   {"align.mix", at::ones({2, 2})},
      {"align.heads.1.weight", at::ones({2, 2})}, {"pos_embed", at::ones({1, 1, 2})}};
  for (auto& [name, parameter] : parameters) parameter.set_requires_grad(name != "pos_embed");
  AdamW optimizer(parameters, {.weight_decay = 0.5});
  // A gradient of zero moves nothing, so that only decay shows: 1 - lr * 0.5.
  for (auto& [name, parameter] : parameters) {
    if (name != "pos_embed" && name != "align.heads.1.weight")
      parameter.mutable_grad() = at::zeros_like(parameter.detach());
  }
  optimizer.Step(0.1);
  const auto value = [&](const std::string& name) {
    return parameters.at(name).detach().flatten()[0].item<float>();
  };
  EXPECT_FLOAT_EQ(value("cls_token"), 0.95f);
  EXPECT_FLOAT_EQ(value("blocks.0.mlp.fc1.weight"), 0.95f);
  EXPECT_FLOAT_EQ(value("blocks.0.mlp.fc1.bias"), 1.0f);
  EXPECT_FLOAT_EQ(value("align.mix"), 1.0f);
  EXPECT_FLOAT_EQ(value("align.heads.1.weight"), 1.0f);
  EXPECT_FLOAT_EQ(value("pos_embed"), 1.0f);
  EXPECT_FALSE(parameters.at("cls_token").grad().defined());
}

TEST(AdamWTest, StateOfAnotherNetworkIsRefusedByName) {
  ParameterMap parameters = {{"a", at::ones({2}).set_requires_grad(true)}};
  ParameterMap others = {{"b", at::ones({2}).set_requires_grad(true)}};
  AdamW optimizer(parameters, {});
  EXPECT_THAT(optimizer.LoadState(AdamW(others, {}).State()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.exp_avg")));
}

TEST(CheckpointTest, ComesBackWholeAndOnlyTheLastTwoStay) {
  const TemporaryFolder folder;
  const std::string run = (folder / "run").string();
  EXPECT_FALSE(LatestCheckpoint(run).has_value());
  for (uint64_t step : {9, 10, 100}) {
    Checkpoint checkpoint{step,
                          {{"w", at::full({2, 2}, static_cast<double>(step))}},
                          {{"w.step", at::full({}, 3.0)}},
                          {{"config", "{}"}}};
    ASSERT_THAT(WriteCheckpoint(run, checkpoint), IsOk());
  }
  EXPECT_FALSE(std::filesystem::exists(run + "/checkpoint-9.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(run + "/checkpoint-10.safetensors"));
  ASSERT_EQ(LatestCheckpoint(run), run + "/checkpoint-100.safetensors");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(Checkpoint read, ReadCheckpoint(*LatestCheckpoint(run)));
  EXPECT_EQ(read.step, 100u);
  EXPECT_TRUE(at::equal(read.weights.at("w"), at::full({2, 2}, 100.0)));
  EXPECT_EQ(read.optimizer.at("w.step").dim(), 0);
  EXPECT_EQ(read.values.at("config"), "{}");
}

TEST(CheckpointTest, ACutFileIsDataLoss) {
  const TemporaryFolder folder;
  ASSERT_THAT(WriteCheckpoint(folder.path().string(), {1, {{"w", at::ones({100})}}, {}, {}}), IsOk());
  const std::string path = *LatestCheckpoint(folder.path().string());
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 8);
  EXPECT_THAT(ReadCheckpoint(path), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(WeightsFileTest, ComesBackAndWrongTensorsAreNamed) {
  const TemporaryFolder folder;
  const std::string path = (folder / "w.safetensors").string();
  VitWeights weights{SmallVit(), {}, NewVit(SmallVit(), 4)};
  AddHead(weights.parameters, 10, 4);
  ASSERT_THAT(SaveVitWeights(path, weights, "f32"), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VitWeights read, LoadVitWeights(path));
  EXPECT_EQ(read.config.depth, 3);
  EXPECT_EQ(read.config.mlp_width, 64);
  ASSERT_EQ(read.parameters.size(), weights.parameters.size());
  for (const auto& [name, tensor] : weights.parameters)
    EXPECT_TRUE(at::equal(read.parameters.at(name), tensor)) << name;

  weights.parameters["blocks.1.norm1.weight"] = at::ones({15});
  EXPECT_THAT(SaveVitWeights(path, weights, "f32"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("blocks.1.norm1.weight has the shape [15], not [16]")));
  weights.parameters.erase("blocks.1.norm1.weight");
  EXPECT_THAT(
      SaveVitWeights(path, weights, "f32"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("blocks.1.norm1.weight [16] is missing")));
}

}  // namespace
}  // namespace afterimage::trainer
