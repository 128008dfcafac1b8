#include "core/feature/feature_record.h"

#include <vector>

#include "gmock/gmock.h"
#include "tests/core/feature/golden_record.h"

namespace afterimage {
namespace {

using ::afterimage::testing::GoldenRecord;
using ::testing::ElementsAre;

TEST(FeatureRecordTest, PatchMajorTakesPatchAfterPatch) {
  RgbImage view;
  view.width = view.height = 4;
  for (uint8_t i = 0; i < 16; ++i) {
    for (int channel = 0; channel < 3; ++channel)
      view.pixels.push_back(static_cast<uint8_t>(10 * i + channel));
  }
  const std::vector<uint8_t> rows = ToPatchMajor(view, 2);
  std::vector<int> pixels;
  for (size_t i = 0; i < rows.size(); i += 3) pixels.push_back(rows[i] / 10);
  EXPECT_THAT(pixels, ElementsAre(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
  EXPECT_EQ(rows[4], 11);  // green of pixel 1
  const RgbImage back = FromPatchMajor(rows, 2, 2);
  EXPECT_EQ(back.width, 4u);
  EXPECT_EQ(back.pixels, view.pixels);
}

TEST(FeatureRecordDeathTest, AViewThatIsNoMultipleOfTheGridEndsTheProcess) {
  RgbImage view;
  view.width = view.height = 5;
  view.pixels.resize(75);
  EXPECT_DEATH(ToPatchMajor(view, 2), "multiple of the grid");
}

TEST(FeatureRecordTest, KeepVisibleKeepsTheUnionOfTheMasks) {
  const FeatureRecord visible = KeepVisible(GoldenRecord(), {{3, 0}, {0, 3}});
  EXPECT_THAT(visible.tokens, ElementsAre(0, 1, 4));
  EXPECT_THAT(visible.masks, ElementsAre(ElementsAre(3, 0), ElementsAre(0, 3)));
  EXPECT_EQ(visible.importance, GoldenRecord().importance);
  EXPECT_EQ(visible.geometry, GoldenRecord().geometry);
  EXPECT_EQ(visible.view_digest, GoldenRecord().view_digest);
  ASSERT_EQ(visible.levels.size(), 1u);
  const std::vector<float> all = GoldenRecord().levels[0].values;
  EXPECT_THAT(visible.levels[0].values,
              ElementsAre(all[0], all[1], all[2], all[3], all[4], all[5], all[12], all[13], all[14]));
  EXPECT_THAT(visible.levels[0].mean, ElementsAre(-1.0f, -0.5f, 1.0f));
  EXPECT_THAT(visible.levels[0].inverse_deviation, ElementsAre(1.0f, 0.5f, 0.0625f));
  ASSERT_EQ(visible.pixels.size(), 24u);
  EXPECT_EQ(visible.pixels[0], 0);
  EXPECT_EQ(visible.pixels[12], 5 * 36);
}

}  // namespace
}  // namespace afterimage
