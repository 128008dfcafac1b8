#include "core/image/exif.h"

#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace afterimage::image_internal {
namespace {

// A TIFF structure with one directory of two entries; the second is the orientation.
std::string LittleEndianExif(char orientation) {
  return std::string("II*\0\x08\0\0\0\x02\0", 10) + std::string("\x0f\x01\x02\0\x04\0\0\0abc\0", 12) +
         std::string("\x12\x01\x03\0\x01\0\0\0", 8) + orientation + std::string(3 + 4, '\0');
}
std::string BigEndianExif(char orientation) {
  return std::string("MM\0*\0\0\0\x08\0\x01", 10) + std::string("\x01\x12\0\x03\0\0\0\x01\0", 9) +
         orientation + std::string(2 + 4, '\0');
}

TEST(ExifOrientationTest, ReadsBothByteOrders) {
  for (char orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(ExifOrientation(AsBytes(LittleEndianExif(orientation))), orientation);
    EXPECT_EQ(ExifOrientation(AsBytes(BigEndianExif(orientation))), orientation);
    EXPECT_EQ(ExifOrientation(AsBytes(std::string("Exif\0\0", 6) + BigEndianExif(orientation))), orientation);
  }
}

TEST(ExifOrientationTest, IsUprightWhereTheTagIsDamaged) {
  EXPECT_EQ(ExifOrientation({}), 1);
  EXPECT_EQ(ExifOrientation(AsBytes("some text that is no TIFF")), 1);
  EXPECT_EQ(ExifOrientation(AsBytes(BigEndianExif(0))), 1);
  EXPECT_EQ(ExifOrientation(AsBytes(BigEndianExif(9))), 1);
  std::string far_directory = LittleEndianExif(6);
  far_directory.replace(4, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(ExifOrientation(AsBytes(far_directory)), 1);
}

TEST(ExifOrientationTest, StaysInsideATruncatedBlock) {
  const std::string whole = LittleEndianExif(6);
  // The value's two bytes end at 32.
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::vector<uint8_t> exact(whole.begin(), whole.begin() + static_cast<int64_t>(length));
    EXPECT_EQ(ExifOrientation(exact), length >= 32 ? 6 : 1) << length;
  }
}

// 3 x 2 pixels, named
//   1 2 3
//   4 5 6
RgbImage Numbered() {
  RgbImage image{3, 2, {}};
  for (uint8_t i = 1; i <= 6; ++i)
    image.pixels.insert(image.pixels.end(), {i, i, static_cast<uint8_t>(10 * i)});
  return image;
}

std::vector<int> Names(const RgbImage& image) {
  std::vector<int> names;
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    EXPECT_EQ(image.pixels[i + 2], 10 * image.pixels[i]);
    names.push_back(image.pixels[i]);
  }
  return names;
}

TEST(ApplyOrientationTest, TurnsAndMirrors) {
  // Pillow's ImageOps.exif_transpose: 2 FLIP_LEFT_RIGHT, 3 ROTATE_180, 4 FLIP_TOP_BOTTOM, 5 TRANSPOSE, 6
  // ROTATE_270, 7 TRANSVERSE, 8 ROTATE_90.
  const std::vector<std::vector<int>> expected = {{1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1},
                                                  {4, 5, 6, 1, 2, 3}, {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3},
                                                  {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const RgbImage upright = ApplyOrientation(Numbered(), orientation);
    EXPECT_EQ(upright.width, orientation >= 5 ? 2u : 3u) << orientation;
    EXPECT_EQ(upright.height, orientation >= 5 ? 3u : 2u) << orientation;
    EXPECT_EQ(Names(upright), expected[orientation - 1]) << orientation;
  }
}

TEST(ApplyOrientationTest, LeavesUnknownOnesAlone) {
  EXPECT_EQ(Names(ApplyOrientation(Numbered(), 0)), Names(Numbered()));
  EXPECT_EQ(Names(ApplyOrientation(Numbered(), 9)), Names(Numbered()));
}

}  // namespace
}  // namespace afterimage::image_internal
