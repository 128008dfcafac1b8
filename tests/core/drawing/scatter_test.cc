#include "core/drawing/scatter.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace afterimage {
namespace {

// The centre of all pixels that are mostly red.
std::pair<double, double> CentreOfRed(const RgbImage& image) {
  double x = 0, y = 0, count = 0;
  for (uint32_t row = 0; row < image.height; ++row) {
    for (uint32_t column = 0; column < image.width; ++column) {
      const uint8_t* const pixel = image.Row(row) + 3 * column;
      if (pixel[0] < 180 || pixel[1] > 100) continue;
      x += column;
      y += row;
      ++count;
    }
  }
  return {x / std::max(count, 1.0), y / std::max(count, 1.0)};
}

TEST(ScatterTest, LargerValuesLieFurtherRightAndHigher) {
  const auto picture = [](double x, double y) {  // red: the second series
    return DrawScatter("title", "x", "y", {{{"", 0.25, 0.001}, {"", 4, 1}}, {{"", x, y}}});
  };
  const auto small = CentreOfRed(picture(0.5, 0.01)), wide = CentreOfRed(picture(2, 0.01)),
             high = CentreOfRed(picture(0.5, 0.1)), none = CentreOfRed(picture(0.5, 0));
  EXPECT_GT(wide.first, small.first + 100);
  EXPECT_NEAR(wide.second, small.second, 1);
  EXPECT_LT(high.second, small.second - 100);
  EXPECT_NEAR(high.first, small.first, 1);
  EXPECT_GT(none.second, small.second + 100);  // zero is on the lower edge
}

TEST(ScatterTest, NoPointsAndOnePointAreDrawnToo) {
  EXPECT_EQ(DrawScatter("", "", "", {}).width, 960u);
  EXPECT_GT(CentreOfRed(DrawScatter("", "", "", {{}, {{"p", 1, 1}}})).first, 0);
}

}  // namespace
}  // namespace afterimage
