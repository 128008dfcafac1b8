#include "core/image/decode.h"

#include <string>
#include <vector>

#include "core/base/digest.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;
using ::testing::TestWithParam;
using ::testing::ValuesIn;

std::string DataFile(const std::string& name) {
  return ReadFile(std::string(AFTERIMAGE_SOURCE_DIR) + "/tests/core/image/data/" + name).value();
}

// What data/generate.py printed: Pillow 12.3.0's pixels, alpha pasted over white.
struct Golden {
  const char* name;
  uint32_t width;
  uint32_t height;
  uint64_t digest;
};
constexpr Golden kGolden[] = {
    {"photo_420.jpg", 61, 47, 0x33ee910b87ad734a},    {"photo_422.jpg", 61, 47, 0x4e2e792fd98a4db4},
    {"photo_444.jpg", 61, 47, 0x2913c788079161ce},    {"progressive.jpg", 61, 47, 0xe5ca8b7c615cf2e8},
    {"grey.jpg", 61, 47, 0xfe2d79dad13c3272},         {"cmyk.jpg", 61, 47, 0x449613e574a5e6f4},
    {"rgb.png", 61, 47, 0xeaf32880e29f7400},          {"grey.png", 61, 47, 0x4be5ac4a35b9f796},
    {"palette.png", 61, 47, 0xca806019435dadf7},      {"palette_alpha.png", 61, 47, 0xd47a4453ce9042b0},
    {"rgba.png", 61, 47, 0x88d284bad378672e},         {"grey_alpha.png", 61, 47, 0x47fcb66d88eb5ed1},
    {"grey_1bit.png", 61, 47, 0xee6e15425c3d20a0},    {"lossy.webp", 61, 47, 0x1971c02fcff29520},
    {"lossy_alpha.webp", 61, 47, 0xcfb581871c200f3c}, {"lossless_alpha.webp", 61, 47, 0x88d284bad378672e},
    {"grey.pgm", 61, 47, 0x4be5ac4a35b9f796},         {"rgb.ppm", 61, 47, 0xeaf32880e29f7400},
    {"rgb_16bit.png", 8, 4, 0x10c63e7f65728b8f},      {"rgb_16bit_transparent.png", 8, 4, 0xbd03574ed5668333},
    {"grey_16bit.png", 8, 4, 0x1c5d0eceadab8e69},
};

class DecodeImageGoldenTest : public TestWithParam<Golden> {};
INSTANTIATE_TEST_SUITE_P(Files, DecodeImageGoldenTest, ValuesIn(kGolden), [](const auto& info) {
  std::string name = info.param.name;
  for (char& c : name) c = c == '.' ? '_' : c;
  return name;
});

TEST_P(DecodeImageGoldenTest, GivesPillowsPixels) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage image, DecodeImage(AsBytes(DataFile(GetParam().name))));
  EXPECT_EQ(image.width, GetParam().width);
  EXPECT_EQ(image.height, GetParam().height);
  ASSERT_EQ(image.pixels.size(), size_t{3} * image.width * image.height);
  EXPECT_EQ(Xxh3_64(image.pixels), GetParam().digest);
}

TEST_P(DecodeImageGoldenTest, RefusesEveryTruncation) {
  const std::string whole = DataFile(GetParam().name);
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string cut = whole.substr(0, length);
    ASSERT_THAT(DecodeImage(AsBytes(cut)), StatusIs(absl::StatusCode::kInvalidArgument))
        << "cut to " << length;
  }
}

TEST_P(DecodeImageGoldenTest, SurvivesFlippedBits) {
  const std::string whole = DataFile(GetParam().name);
  for (size_t i = 0; i < 8 * whole.size(); i += 13) {
    std::string damaged = whole;
    damaged[i / 8] = static_cast<char>(damaged[i / 8] ^ (1 << (i % 8)));
    const absl::StatusOr<RgbImage> image = DecodeImage(AsBytes(damaged));
    if (image.ok()) {
      ASSERT_EQ(image->pixels.size(), size_t{3} * image->width * image->height);
    } else {
      ASSERT_THAT(image, StatusIs(absl::StatusCode::kInvalidArgument));
    }
  }
}

TEST(DecodeImageTest, RefusesADamagedPng) {
  std::string png = DataFile("rgb.png");
  png[png.size() / 2] ^= 1;
  EXPECT_THAT(DecodeImage(AsBytes(png)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("corrupt PNG")));
}

TEST(DecodeImageTest, RefusesAJpegWithDamagedEntropyData) {
  const std::string jpeg = DataFile("photo_420.jpg");
  // A run of ones is no Huffman code; an end marker in the middle leaves rows without data.
  for (const std::string& damage : {std::string("\xff\0\xff\0\xff\0\xff\0", 8), std::string("\xff\xd9")}) {
    std::string damaged = jpeg;
    damaged.replace(jpeg.size() / 2, damage.size(), damage);
    EXPECT_THAT(DecodeImage(AsBytes(damaged)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("corrupt JPEG")));
  }
}

TEST(DecodeImageTest, AcceptsPaddingBeforeTheEndMarkerOfAJpeg) {
  const std::string jpeg = DataFile("photo_420.jpg");
  const std::string padded =
      jpeg.substr(0, jpeg.size() - 2) + std::string(3, '\0') + jpeg.substr(jpeg.size() - 2);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage image, DecodeImage(AsBytes(padded)));
  EXPECT_EQ(Xxh3_64(image.pixels), kGolden[0].digest);
}

TEST(DecodeImageTest, NamesWhatAFileLooksLike) {
  EXPECT_THAT(DecodeImage({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  EXPECT_THAT(DecodeImage(AsBytes("GIF89a...")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("GIF")));
  EXPECT_THAT(DecodeImage(AsBytes("<!DOCTYPE html>")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HTML")));
  EXPECT_THAT(
      DecodeImage(AsBytes("hello")),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("not a JPEG"), HasSubstr("68656c6c6f"))));
}

TEST(DecodeImageTest, ChecksSizesBeforeAllocating) {
  EXPECT_THAT(
      DecodeImage(AsBytes("P6 65501 1 255\n")),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("too large"), HasSubstr("65501"))));
  EXPECT_THAT(DecodeImage(AsBytes("P6 65500 65500 255\n")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too large")));
  EXPECT_THAT(DecodeImage(AsBytes("P5 9999999999 9999999999 255\n")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too large")));
  // A PNG header of 65,500 x 65,500 pixels, with its right checksum.
  std::string png = DataFile("rgb.png").substr(0, 33);
  png.replace(16, 8, std::string("\0\0\xff\xdc\0\0\xff\xdc", 8));
  png.replace(29, 4, "\x1c\x35\x81\x4c");
  EXPECT_THAT(DecodeImage(AsBytes(png)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("65500 x 65500")));
}

TEST(DecodeImageTest, ReadsPnmHeadersWithComments) {
  const std::string pgm = std::string("P5 # made by hand\n2\n# two rows\n1 255\n") + "\x05\xfa";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage image, DecodeImage(AsBytes(pgm)));
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{5, 5, 5, 250, 250, 250}));
}

TEST(DecodeImageTest, RefusesOtherPnmDepthsAndBadHeaders) {
  EXPECT_THAT(DecodeImage(AsBytes("P5 1 1 65535\n..")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("maxval 65535")));
  EXPECT_THAT(DecodeImage(AsBytes("P5 1 0 255\n.")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  EXPECT_THAT(DecodeImage(AsBytes("P5 one 1 255\n.")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("header")));
}

// An APP1 segment with the orientation, behind the start marker.
std::string WithOrientation(const std::string& jpeg, char orientation) {
  const std::string tiff =
      std::string("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 19) + orientation + std::string(6, '\0');
  const std::string body = std::string("Exif\0\0", 6) + tiff;
  return jpeg.substr(0, 2) + std::string("\xff\xe1\0", 3) + static_cast<char>(body.size() + 2) + body +
         jpeg.substr(2);
}

TEST(DecodeImageTest, AppliesTheExifOrientationOfAJpeg) {
  const std::string jpeg = DataFile("photo_444.jpg");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage stored, DecodeImage(AsBytes(jpeg)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage turned, DecodeImage(AsBytes(WithOrientation(jpeg, 6))));
  ASSERT_EQ(turned.width, stored.height);
  ASSERT_EQ(turned.height, stored.width);
  for (uint32_t y = 0; y < stored.height; ++y) {
    for (uint32_t x = 0; x < stored.width; ++x) {
      // A quarter turn clockwise: the top row becomes the right column.
      ASSERT_EQ(0, memcmp(stored.Row(y) + 3 * x, turned.Row(x) + 3 * (stored.height - 1 - y), 3));
    }
  }
}

}  // namespace
}  // namespace afterimage
