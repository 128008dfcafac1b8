// Teachers whose input is smaller than the views, as CLIP-L/14 in MaskAlign (maskalign.md section 1.2).
#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/vit.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::LargestDifference;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::afterimage::testing::WriteTeacherOfStep;
using ::testing::AllOf;
using ::testing::HasSubstr;

class TeacherInputSizeTest : public ::testing::Test {
 protected:
  TeacherInputSizeTest() {
    options_.weights = WriteTeacherOfStep(golden_, folder_.path().string());
    options_.num_heads = golden_.config()["teacher"]["heads"];
    options_.input_size = 196;
    options_.micro_batch = 2;
  }

  std::unique_ptr<TeacherRunner> Load() const {
    auto runner = TeacherRunner::Load(options_);
    EXPECT_TRUE(runner.ok()) << runner.status();
    return *std::move(runner);
  }

  View GoldenView() const {
    const at::Tensor pixels = golden_.Tensor("input.view", at::kByte)[0].contiguous();
    View view;
    view.pixels = {
        224, 224, {pixels.const_data_ptr<uint8_t>(), pixels.const_data_ptr<uint8_t>() + pixels.numel()}};
    return view;
  }

  const TemporaryFolder folder_;
  const GoldenFile golden_{"maskalign_step_l14"};
  TeacherOptions options_;
};

TEST_F(TeacherInputSizeTest, RecordsOfAViewOf224PixelsAreThoseOfTheOfficialCodeAt196) {
  const auto runner = Load();
  EXPECT_EQ(runner->view_size(), 224u);
  EXPECT_EQ(runner->geometry(), (TeacherGeometry{.num_levels = 3, .width = 24, .grid = 14}));
  const std::vector<uint32_t> levels = {1, 2, 3};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto records, runner->Run(std::vector<View>{GoldenView()}, levels));
  const FeatureRecord& record = records[0];
  // The student's patches: 16 x 16 pixels on the teacher's grid, although the teacher's have 14.
  EXPECT_EQ(record.view_size, 224u);
  EXPECT_EQ(record.grid, 14u);
  EXPECT_EQ(record.patch_size(), 16u);
  EXPECT_EQ(FromPatchMajor(record.pixels, record.grid, record.patch_size()).pixels,
            GoldenView().pixels.pixels);

  // Sharper than the JSON's tolerance, which allows for PyTorch's float32 sampling positions: ours are
  // float64.
  constexpr double kRelative = 1e-5;
  const at::Tensor importance = golden_.Tensor("output.teacher.importance", at::kDouble)[0];
  const at::Tensor ours = at::tensor(record.importance).to(at::kDouble);
  EXPECT_LE(LargestDifference(ours, importance), kRelative * importance.max().item<double>());
  for (const LevelFeatures& level : record.levels) {
    SCOPED_TRACE(level.level);
    const at::Tensor hidden =
        golden_.Tensor(absl::StrCat("output.teacher.hidden.", level.level), at::kDouble)[0];
    const at::Tensor wanted = LayerNormNoAffine(hidden, kNormalizationEps);
    EXPECT_LE(LargestDifference(at::tensor(level.values).view({197, 24}), wanted),
              kRelative * wanted.abs().max().item<double>());
  }
}

TEST_F(TeacherInputSizeTest, BitsDependNeitherOnPositionNorOnNeighbours) {
  const auto runner = Load();
  std::vector<View> views(3, GoldenView());
  for (size_t i = 0; i < 2; ++i)
    views[i].pixels.pixels.assign(views[i].pixels.pixels.size(), static_cast<uint8_t>(99 * i));
  const std::vector<uint32_t> levels = {3};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto alone, runner->Run({&views[2], 1}, levels));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto together, runner->Run(views, levels));
  EXPECT_EQ(alone[0].importance, together[2].importance);
  EXPECT_EQ(alone[0].levels[0].values, together[2].levels[0].values);
  EXPECT_NE(together[0].levels[0].values, together[2].levels[0].values);
}

TEST_F(TeacherInputSizeTest, TheInputSizeIsPartOfTheFeatureSpecAndNothingElseChanges) {
  const auto smaller = Load();
  EXPECT_EQ(smaller->PreprocessingSpec()["filter"], "cubic_size");
  EXPECT_EQ(smaller->PreprocessingSpec()["size"], 196);
  EXPECT_EQ(smaller->TeacherSpec()["position_resize"], "cubic_size");
  EXPECT_EQ(smaller->TeacherSpec()["architecture"]["image_size"], 196);

  options_.input_size = 0;
  const auto plain = Load();
  EXPECT_EQ(plain->geometry().grid, 16u);
  EXPECT_EQ(plain->PreprocessingSpec()["filter"], "none");
  options_.input_size = 224;  // that of the views: as if it had not been said
  const auto said = Load();
  EXPECT_EQ(said->TeacherSpec(), plain->TeacherSpec());
  EXPECT_EQ(said->PreprocessingSpec(), plain->PreprocessingSpec());

  // A view of 196 pixels at 196 is another thing than one of 224 resized to it.
  options_.input_size = 0;
  options_.image_size = 196;
  const auto small_view = Load();
  EXPECT_EQ(small_view->view_size(), 196u);
  EXPECT_EQ(small_view->TeacherSpec(), smaller->TeacherSpec());
  EXPECT_NE(small_view->PreprocessingSpec(), smaller->PreprocessingSpec());
  const auto id = [](const TeacherRunner& runner) {
    return MakeFeatureSpec(runner, ViewSpec{.size = runner.view_size()}).Id();
  };
  EXPECT_NE(id(*small_view), id(*smaller));
  EXPECT_NE(id(*plain), id(*smaller));
}

TEST_F(TeacherInputSizeTest, SizesThatDoNotFitAreRefusedWithTheRemedy) {
  options_.input_size = 200;
  EXPECT_THAT(TeacherRunner::Load(options_), StatusIs(absl::StatusCode::kInvalidArgument,
                                                      AllOf(HasSubstr("patches of 14 pixels"),
                                                            HasSubstr("200"), HasSubstr("multiple of 14"))));
  options_.input_size = 182;  // 13 x 13 patches
  EXPECT_THAT(TeacherRunner::Load(options_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("grid of 13 x 13"), HasSubstr("224"), HasSubstr("multiple of 13"))));
  options_.image_size = 208;
  EXPECT_THAT(TeacherRunner::Load(options_), testing::IsOk());
}

}  // namespace
}  // namespace afterimage
