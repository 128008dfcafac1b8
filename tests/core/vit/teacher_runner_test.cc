#include "core/vit/teacher_runner.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/vit/vit.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::LargestDifference;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

View GoldenView(const GoldenFile& golden, int64_t index) {
  const at::Tensor pixels = golden.Tensor("input.view", at::kByte)[index].contiguous();
  View view;
  view.pixels.height = static_cast<uint32_t>(pixels.size(0));
  view.pixels.width = static_cast<uint32_t>(pixels.size(1));
  view.pixels.pixels.assign(pixels.const_data_ptr<uint8_t>(),
                            pixels.const_data_ptr<uint8_t>() + pixels.numel());
  view.geometry.image_width = 100;
  view.geometry.flipped = true;
  view.digest = 77 + static_cast<uint64_t>(index);
  return view;
}

std::vector<View> RandomViews(int64_t count, int64_t size) {
  at::manual_seed(9);
  std::vector<View> views;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor pixels = at::randint(0, 256, {3 * size * size}, at::kByte);
    View view;
    view.pixels = {static_cast<uint32_t>(size),
                   static_cast<uint32_t>(size),
                   {pixels.const_data_ptr<uint8_t>(), pixels.const_data_ptr<uint8_t>() + pixels.numel()}};
    views.push_back(std::move(view));
  }
  return views;
}

at::Tensor AsTensor(const std::vector<float>& values, at::IntArrayRef shape) {
  return at::from_blob(const_cast<float*>(values.data()), shape, at::kFloat).clone();
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void ExpectSameBits(const FeatureRecord& a, const FeatureRecord& b) {
  EXPECT_TRUE(SameBits(a.importance, b.importance));
  ASSERT_EQ(a.levels.size(), b.levels.size());
  for (size_t i = 0; i < a.levels.size(); ++i) {
    EXPECT_TRUE(SameBits(a.levels[i].values, b.levels[i].values)) << "level " << a.levels[i].level;
    EXPECT_TRUE(SameBits(a.levels[i].mean, b.levels[i].mean));
    EXPECT_TRUE(SameBits(a.levels[i].inverse_deviation, b.levels[i].inverse_deviation));
  }
  EXPECT_EQ(a.pixels, b.pixels);
}

std::unique_ptr<TeacherRunner> LoadRunner(const GoldenFile& golden, uint32_t micro_batch = 4,
                                          int num_threads = 0) {
  TeacherOptions options = golden.Options();
  options.micro_batch = micro_batch;
  options.num_threads = num_threads;
  auto runner = TeacherRunner::Load(options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return runner.ok() ? *std::move(runner) : nullptr;
}

class TeacherRunnerGoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(TeacherRunnerGoldenTest, RecordsHoldTheReferencesTargetsFromRawPixels) {
  const GoldenFile golden(GetParam());
  const auto runner = LoadRunner(golden);
  ASSERT_NE(runner, nullptr);
  const std::vector<View> views = {GoldenView(golden, 0), GoldenView(golden, 1)};
  const std::vector<uint32_t> levels = {1, 3};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<FeatureRecord> records, runner->Run(views, levels));
  ASSERT_EQ(records.size(), 2u);
  const int64_t tokens = runner->geometry().num_tokens();
  const int64_t width = runner->geometry().width;
  for (size_t i = 0; i < 2; ++i) {
    const FeatureRecord& record = records[i];
    EXPECT_EQ(record.view_digest, 77 + i);
    EXPECT_EQ(record.geometry, views[i].geometry);
    EXPECT_EQ(record.view_size, runner->view_size());
    EXPECT_EQ(record.grid, runner->geometry().grid);
    EXPECT_EQ(record.tokens.size(), static_cast<size_t>(tokens));
    EXPECT_EQ(record.tokens.back(), tokens - 1);
    EXPECT_TRUE(record.masks.empty());
    EXPECT_EQ(FromPatchMajor(record.pixels, record.grid, record.patch_size()).pixels, views[i].pixels.pixels);
    EXPECT_LE(LargestDifference(AsTensor(record.importance, {tokens - 1}),
                                golden.Tensor("output.importance", at::kDouble)[static_cast<int64_t>(i)]),
              golden.atol("output.importance"));
    ASSERT_EQ(record.levels.size(), 2u);
    for (const LevelFeatures& level : record.levels) {
      const std::string target = "output.target." + std::to_string(level.level);
      const std::string hidden = "output.hidden." + std::to_string(level.level);
      SCOPED_TRACE(target);
      const at::Tensor values = AsTensor(level.values, {tokens, width});
      EXPECT_LE(LargestDifference(values, golden.Tensor(target, at::kDouble)[static_cast<int64_t>(i)]),
                golden.atol(target));
      // Undone by mean and inverse deviation.
      const at::Tensor raw =
          values / AsTensor(level.inverse_deviation, {tokens, 1}) + AsTensor(level.mean, {tokens, 1});
      EXPECT_LE(LargestDifference(raw, golden.Tensor(hidden, at::kDouble)[static_cast<int64_t>(i)]),
                golden.atol(hidden));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TeacherRunnerGoldenTest,
                         ::testing::Values("teacher_timm_vit", "teacher_timm_vit_layerscale_p16",
                                           "teacher_hf_clip", "teacher_hf_clip_p16",
                                           "teacher_open_clip_quickgelu", "teacher_hf_vit_dino_p16",
                                           "teacher_hf_dinov2"),
                         [](const auto& info) { return info.param; });

TEST(TeacherRunnerTest, BitsDependNeitherOnPositionNorOnNeighbours) {
  const GoldenFile golden("teacher_hf_clip");
  const auto runner = LoadRunner(golden);
  ASSERT_NE(runner, nullptr);
  const std::vector<View> views = RandomViews(11, 24);
  const std::vector<uint32_t> levels = {2, 4};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<FeatureRecord> all, runner->Run(views, levels));
  ASSERT_EQ(all.size(), 11u);
  for (size_t i = 0; i < views.size(); ++i) {
    SCOPED_TRACE(i);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto alone, runner->Run({&views[i], 1}, levels));
    ExpectSameBits(alone[0], all[i]);
  }
  const std::vector<View> reversed(views.rbegin(), views.rend());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto backwards, runner->Run(reversed, levels));
  for (size_t i = 0; i < views.size(); ++i) ExpectSameBits(backwards[views.size() - 1 - i], all[i]);
}

TEST(TeacherRunnerTest, BitsDoNotDependOnTheNumberOfThreads) {
  const GoldenFile golden("teacher_timm_vit");
  const std::vector<View> views = RandomViews(8, 24);
  const std::vector<uint32_t> levels = {1, 2, 3};
  const int before = at::get_num_threads();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto one, LoadRunner(golden, 8, 1)->Run(views, levels));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto two, LoadRunner(golden, 8, 2)->Run(views, levels));
  at::set_num_threads(before);
  for (size_t i = 0; i < views.size(); ++i) ExpectSameBits(one[i], two[i]);
}

// Large enough for LibTorch to split every operation over the threads (design.md section 6).
TEST(TeacherRunnerTest, ALargerForwardHasTheSameBitsWithOneAndTwoThreads) {
  const VitConfig config{.image_size = 128, .width = 192, .depth = 2, .heads = 3, .mlp_width = 768};
  at::manual_seed(10);
  ParameterMap parameters;
  for (const auto& [name, shape] : VitParameterShapes(config)) parameters[name] = at::randn(shape) * 0.1;
  const at::Tensor rows = at::randn({16, config.num_patches(), 3 * 16 * 16});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const VitOutput one = VitForward(config, parameters, rows, {.with_importance = true});
  at::set_num_threads(2);
  const VitOutput two = VitForward(config, parameters, rows, {.with_importance = true});
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one.importance, two.importance));
  for (size_t i = 0; i < one.hidden.size(); ++i) EXPECT_TRUE(at::equal(one.hidden[i], two.hidden[i])) << i;
}

TEST(TeacherRunnerTest, LevelsAreTheSameWhicheverOthersAreAskedFor) {
  const GoldenFile golden("teacher_timm_vit");
  const auto runner = LoadRunner(golden);
  ASSERT_NE(runner, nullptr);
  const std::vector<View> views = RandomViews(1, 24);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto all, runner->Run(views, std::vector<uint32_t>{1, 2, 3}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto last, runner->Run(views, std::vector<uint32_t>{3}));
  EXPECT_TRUE(SameBits(all[0].levels[2].values, last[0].levels[0].values));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto none, runner->Run(views, {}));
  EXPECT_TRUE(none[0].levels.empty());
  EXPECT_TRUE(SameBits(none[0].importance, all[0].importance));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto nothing, runner->Run({}, {}));
  EXPECT_TRUE(nothing.empty());
}

TEST(TeacherRunnerTest, EmbedIsClassTokenAndMeanPatchOfTheLastLevel) {
  const GoldenFile golden("teacher_timm_vit");
  const auto runner = LoadRunner(golden);
  ASSERT_NE(runner, nullptr);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const std::vector<float> rows,
      runner->Embed(std::vector<View>{GoldenView(golden, 0), GoldenView(golden, 1)}));
  const at::Tensor last = golden.Tensor("output.hidden.3", at::kDouble);
  const at::Tensor wanted = at::cat({last.select(1, 0), last.slice(1, 1).mean(1)}, 1);
  EXPECT_LE(LargestDifference(AsTensor(rows, {2, 96}), wanted), golden.atol("output.hidden.3"));
}

TEST(TeacherRunnerTest, WrongViewsAndLevelsAreRefused) {
  const GoldenFile golden("teacher_timm_vit");
  const auto runner = LoadRunner(golden);
  ASSERT_NE(runner, nullptr);
  const std::vector<View> views = RandomViews(1, 24);
  EXPECT_THAT(
      runner->Run(RandomViews(1, 20), std::vector<uint32_t>{1}),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("20 x 20"), HasSubstr("24 x 24"))));
  EXPECT_THAT(runner->Run(views, std::vector<uint32_t>{4}),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("level 4"), HasSubstr("1 to 3"))));
  EXPECT_THAT(runner->Run(views, std::vector<uint32_t>{0}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(runner->Run(views, std::vector<uint32_t>{2, 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ascending")));
}

TEST(TeacherRunnerTest, LoadRefusesWhatDoesNotExist) {
  TeacherOptions options = GoldenFile("teacher_timm_vit").Options();
  options.device = "abacus";
  EXPECT_THAT(TeacherRunner::Load(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("abacus")));
  options.device = "cuda:63";
  EXPECT_THAT(TeacherRunner::Load(options), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cuda:63")));
  options.device = "cpu";
  options.weights = "/nowhere.safetensors";
  EXPECT_THAT(TeacherRunner::Load(options),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere.safetensors")));
}

// The teacher's share of the feature id: frozen. The digest is Python's.
TEST(TeacherRunnerTest, SpecsAreFrozen) {
  const GoldenFile golden("teacher_hf_clip");
  const auto runner = LoadRunner(golden);
  ASSERT_NE(runner, nullptr);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string teacher, CanonicalText(runner->TeacherSpec()));
  EXPECT_EQ(
      teacher,
      R"({"architecture":{"activation":"quick_gelu","depth":4,"heads":4,"image_size":24,"layer_norm_eps":"1e-05",)"
      R"("layer_scale":false,"mlp_width":192,"patch_bias":false,"patch_size":4,"pre_norm":true,"width":48},)"
      R"("family":"hf_clip","importance":"last_block_class_row_head_mean","position_resize":"none",)"
      R"("precision":"f32","weights":"8610c950af008fc4e5bc2d72fbef888716495541275179d44de44a05c3487933"})");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string preprocessing,
                                  CanonicalText(runner->PreprocessingSpec()));
  EXPECT_EQ(preprocessing, R"({"filter":"none","mean":["0.48145466","0.4578275","0.40821073"],"size":24,)"
                           R"("std":["0.26862954","0.26130258","0.27577711"]})");
  TeacherOptions resized = golden.Options();
  resized.image_size = 32;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto other, TeacherRunner::Load(resized));
  EXPECT_EQ(other->TeacherSpec()["position_resize"], "cubic_size");
  EXPECT_EQ(other->view_size(), 32u);
  EXPECT_EQ(other->geometry().num_patches(), 64u);
}

TEST(TeacherRunnerTest, FeatureSpecIsMadeOfTheTeachersPartsAndTheView) {
  const auto runner = LoadRunner(GoldenFile("teacher_timm_vit"));
  ASSERT_NE(runner, nullptr);
  const FeatureSpec spec = MakeFeatureSpec(*runner, ViewSpec{.size = 24});
  EXPECT_EQ(spec.teacher, runner->TeacherSpec());
  EXPECT_EQ(spec.preprocessing, runner->PreprocessingSpec());
  EXPECT_EQ(spec.view.size, 24u);
  EXPECT_EQ(spec.geometry, (TeacherGeometry{.num_levels = 3, .width = 48, .grid = 6}));
  EXPECT_EQ(spec.normalization_eps, "1e-05");
}

TEST(TeacherRunnerTest, DescribesItsDeviceAndCost) {
  const auto runner = LoadRunner(GoldenFile("teacher_timm_vit"), 3, 1);
  ASSERT_NE(runner, nullptr);
  EXPECT_EQ(runner->micro_batch(), 3u);
  EXPECT_THAT(runner->DeviceDescription(),
              AllOf(HasSubstr("cpu"), HasSubstr("1 thread,"), HasSubstr("LibTorch 2.11")));
  // 36 x 48 x 48 for the patches; per block 37 tokens x (4 x 48^2 + 2 x 48 x 192) + 2 x 37^2 x 48.
  EXPECT_EQ(runner->ForwardMacs(), 36 * 48 * 48 + 3 * (37 * (4 * 48 * 48 + 2 * 48 * 192) + 2 * 37 * 37 * 48));
}

}  // namespace
}  // namespace afterimage
