#include "core/drawing/canvas.h"

#include <spng.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <string>

#include "core/base/files.h"
#include "core/drawing/font.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::HasSubstr;

// '#' where the pixel is dark, rows apart by a line end.
std::string Sketch(const RgbImage& image) {
  std::string text;
  for (uint32_t y = 0; y < image.height; ++y) {
    for (uint32_t x = 0; x < image.width; ++x) text += image.Row(y)[3 * x] < 128 ? '#' : '.';
    text += '\n';
  }
  return text;
}

RgbImage DecodePng(const std::string& png) {
  const std::unique_ptr<spng_ctx, void (*)(spng_ctx*)> context(spng_ctx_new(0), spng_ctx_free);
  spng_set_png_buffer(context.get(), png.data(), png.size());
  spng_ihdr header{};
  EXPECT_EQ(spng_get_ihdr(context.get(), &header), 0);
  RgbImage image{header.width, header.height, {}};
  image.pixels.resize(size_t{3} * header.width * header.height);
  EXPECT_EQ(spng_decode_image(context.get(), image.pixels.data(), image.pixels.size(), SPNG_FMT_RGB8, 0), 0);
  return image;
}

TEST(CanvasTest, FillsRectangles) {
  Canvas canvas(4, 3);
  canvas.FillRectangle(1, 1, 2, 1, {0, 0, 0});
  EXPECT_EQ(Sketch(canvas.image()), "....\n.##.\n....\n");
}

TEST(CanvasTest, ClipsWhatFallsOutside) {
  Canvas canvas(3, 2);
  canvas.FillRectangle(-5, -5, 6, 6, {0, 0, 0});
  canvas.FillRectangle(2, 1, std::numeric_limits<int>::max(), std::numeric_limits<int>::max(), {0, 0, 0});
  canvas.FillRectangle(10, 10, 2, 2, {0, 0, 0});
  canvas.FillRectangle(1, 0, -4, 1, {0, 0, 0});
  EXPECT_EQ(Sketch(canvas.image()), "#..\n..#\n");
}

TEST(CanvasTest, EnlargesImagesAndKeepsTheirColours) {
  RgbImage image{2, 1, {10, 20, 30, 200, 210, 220}};
  Canvas canvas(5, 3);
  canvas.DrawImage(image, 1, 1, 2);
  EXPECT_EQ(Sketch(canvas.image()), ".....\n.##..\n.##..\n");
  EXPECT_EQ(canvas.image().Row(2)[3 * 2 + 1], 20);
  EXPECT_EQ(canvas.image().Row(2)[3 * 4 + 2], 220);
}

TEST(CanvasTest, WritesText) {
  Canvas canvas(12, 7);
  EXPECT_EQ(canvas.DrawText("K1", 0, 0, {0, 0, 0}), 12);
  EXPECT_EQ(Sketch(canvas.image()),
            "#...#...#...\n"
            "#..#...##...\n"
            "#.#.....#...\n"
            "##......#...\n"
            "#.#.....#...\n"
            "#..#....#...\n"
            "#...#..###..\n");
}

TEST(CanvasTest, EnlargedTextHasAsManyTimesThePixels) {
  const auto count_dark = [](const Canvas& canvas) {
    const std::string sketch = Sketch(canvas.image());
    return std::count(sketch.begin(), sketch.end(), '#');
  };
  Canvas small(40, 40), large(120, 120);
  small.DrawText("a~Z{", 2, 2, {0, 0, 0});
  EXPECT_EQ(large.DrawText("a~Z{", 2, 2, {0, 0, 0}, 3), 4 * 6 * 3);
  EXPECT_GT(count_dark(small), 20);
  EXPECT_EQ(count_dark(large), 9 * count_dark(small));
}

TEST(FontTest, EveryPrintableCharacterHasAGlyphOfItsOwn) {
  std::set<std::string> glyphs;
  for (char character = ' '; character <= '~'; ++character) {
    std::string glyph;
    for (int row = 0; row < kGlyphHeight; ++row) {
      for (int column = 0; column < kGlyphWidth; ++column) glyph += GlyphPixel(character, column, row) ? '#' : '.';
    }
    EXPECT_TRUE(glyphs.insert(glyph).second) << "'" << character << "' looks like another character";
  }
}

TEST(FontTest, OtherCharactersLookLikeAQuestionMark) {
  for (const char character : {'\n', '\x7f', '\xc3'}) {
    for (int row = 0; row < kGlyphHeight; ++row) {
      for (int column = 0; column < kGlyphWidth; ++column) {
        EXPECT_EQ(GlyphPixel(character, column, row), GlyphPixel('?', column, row));
      }
    }
  }
}

TEST(HeatColorTest, GoesFromDarkBlueToYellowThroughGreen) {
  EXPECT_EQ(HeatColor(0).blue, 84);
  EXPECT_EQ(HeatColor(0.5).green, 144);
  EXPECT_EQ(HeatColor(1).red, 253);
  EXPECT_EQ(HeatColor(1.0 / 16).red, 70);  // half way from 68 to 71, rounded away from zero
}

TEST(HeatColorTest, GetsBrighterAllTheWay) {
  double previous = 0;
  for (int i = 0; i <= 100; ++i) {
    const Color color = HeatColor(i / 100.0);
    const double luma = 0.299 * color.red + 0.587 * color.green + 0.114 * color.blue;
    EXPECT_GT(luma, previous) << i;
    previous = luma;
  }
}

TEST(HeatColorTest, ClampsWhatIsOutOfRange) {
  EXPECT_EQ(HeatColor(-3).red, HeatColor(0).red);
  EXPECT_EQ(HeatColor(std::nan("")).red, HeatColor(0).red);
  EXPECT_EQ(HeatColor(7).red, HeatColor(1).red);
}

TEST(PngTest, DecodesToTheSamePixels) {
  Canvas canvas(37, 11, {1, 2, 3});
  for (int i = 0; i < 37; ++i) canvas.FillRectangle(i, i % 11, 1, 2, HeatColor(i / 36.0));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string png, EncodePng(canvas.image()));
  const RgbImage decoded = DecodePng(png);
  EXPECT_EQ(decoded.width, 37u);
  EXPECT_EQ(decoded.height, 11u);
  EXPECT_EQ(decoded.pixels, canvas.image().pixels);
}

TEST(PngTest, RefusesAPictureWithoutPixels) {
  EXPECT_THAT(EncodePng(RgbImage{}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 x 0")));
  EXPECT_THAT(EncodePng(RgbImage{2, 2, {1, 2, 3}}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 bytes")));
}

TEST(PngTest, WritesAFile) {
  const TemporaryFolder folder;
  const std::string path = (folder / "picture.png").string();
  const Canvas canvas(3, 3);
  EXPECT_THAT(WritePng(canvas.image(), path), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string png, ReadFile(path));
  EXPECT_EQ(DecodePng(png).pixels, canvas.image().pixels);
  EXPECT_THAT(WritePng(canvas.image(), (folder / "absent/picture.png").string()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent/picture.png")));
}

}  // namespace
}  // namespace afterimage
