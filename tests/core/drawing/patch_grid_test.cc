#include "core/drawing/patch_grid.h"

#include <vector>

#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;

std::vector<int> PixelAt(const Canvas& canvas, uint32_t x, uint32_t y) {
  const uint8_t* const pixel = canvas.image().Row(y) + size_t{3} * x;
  return {pixel[0], pixel[1], pixel[2]};
}

TEST(PatchGridTest, PatchesStandRowByRowAndAreEnlarged) {
  Canvas canvas(20, 20);
  const PatchGrid grid{.x = 2, .y = 3, .patches_per_side = 3, .patch_side = 4};
  ClearGrid(canvas, grid);
  FillPatch(canvas, grid, 5, {1, 2, 3});  // second row, third column
  const std::vector<uint8_t> pixels = {9, 9, 9, 50, 60, 70, 9, 9, 9, 9, 9, 9};
  DrawPatch(canvas, grid, 6, pixels, 2);  // third row, first column
  EXPECT_THAT(PixelAt(canvas, 1, 3), ElementsAre(255, 255, 255));
  EXPECT_THAT(PixelAt(canvas, 2, 3), ElementsAre(205, 205, 205));
  EXPECT_THAT(PixelAt(canvas, 2 + 8, 3 + 4), ElementsAre(1, 2, 3));
  EXPECT_THAT(PixelAt(canvas, 2 + 11, 3 + 7), ElementsAre(1, 2, 3));
  EXPECT_THAT(PixelAt(canvas, 2 + 7, 3 + 7), ElementsAre(205, 205, 205));
  EXPECT_THAT(PixelAt(canvas, 2 + 2, 3 + 8), ElementsAre(50, 60, 70));
  EXPECT_THAT(PixelAt(canvas, 2 + 3, 3 + 9), ElementsAre(50, 60, 70));
  EXPECT_THAT(PixelAt(canvas, 2 + 1, 3 + 9), ElementsAre(9, 9, 9));
  EXPECT_THAT(PixelAt(canvas, 2 + 12, 3 + 12), ElementsAre(255, 255, 255));
}

TEST(ComponentColorsTest, EachComponentIsStretchedToItsOwnRange) {
  ComponentColors colors;
  colors.Add(std::vector<float>{0, -1, 5, 2, 1, 5});
  const auto at = [&](float a, float b, float c) {
    const std::array<float, 3> row = {a, b, c};
    const Color color = colors.At(row);
    return std::vector<int>{color.red, color.green, color.blue};
  };
  EXPECT_THAT(at(0, -1, 5), ElementsAre(0, 0, 0));
  EXPECT_THAT(at(2, 1, 5), ElementsAre(255, 255, 0));
  EXPECT_THAT(at(1, 0, 5), ElementsAre(128, 128, 0));
  EXPECT_THAT(at(-7, 9, 6), ElementsAre(0, 255, 255));
}

}  // namespace
}  // namespace afterimage
