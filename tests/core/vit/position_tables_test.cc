#include "core/vit/position_tables.h"

#include <ATen/ATen.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "core/vit/vit.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"

namespace afterimage {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::LargestDifference;

TEST(PositionTablesTest, EveryFlavourMatchesTheReference) {
  const GoldenFile golden("position_tables");
  const std::pair<PositionResize, std::string> flavours[] = {
      {PositionResize::kSize, "size"},
      {PositionResize::kSizeAntialias, "size_antialias"},
      {PositionResize::kScaleOffset, "scale_offset"}};
  struct Size {
    int native, rows, columns;
  };
  for (const Size size : {Size{6, 8, 8}, Size{6, 4, 4}, Size{6, 4, 8}, Size{16, 14, 14}, Size{37, 16, 16}}) {
    for (const auto& [flavour, flavour_name] : flavours) {
      const std::string name =
          absl::StrCat("output.grid", size.native, ".", flavour_name, ".", size.rows, "x", size.columns);
      SCOPED_TRACE(name);
      const std::string input = absl::StrCat("input.grid", size.native, ".table");
      const at::Tensor wanted = golden.Tensor(name, at::kDouble);
      const at::Tensor table = golden.Tensor(input, at::kDouble);
      const at::Tensor resized = ResizePositionTable(table, size.rows, size.columns, flavour);
      EXPECT_LE(LargestDifference(resized, wanted), 4e-7 * wanted.abs().max().item<double>());
      // In single precision too only the result is rounded.
      const at::Tensor single = ResizePositionTable(table.to(at::kFloat), size.rows, size.columns, flavour);
      EXPECT_EQ(single.scalar_type(), at::kFloat);
      EXPECT_LE(LargestDifference(single, wanted), 4e-7 * wanted.abs().max().item<double>());
    }
  }
}

// What transformers' DINOv2 itself made of its table, which it resizes in single precision.
TEST(PositionTablesTest, DinoV2ResizesToOblongGrids) {
  const GoldenFile golden("teacher_hf_dinov2");
  const at::Tensor table = golden.Tensor("embeddings.position_embeddings", at::kDouble);
  const at::Tensor wanted = golden.Tensor("output.alt24x32.position_table", at::kDouble);
  const at::Tensor resized = ResizePositionTable(table, 6, 8, PositionResize::kSize).squeeze(0);
  EXPECT_LE(LargestDifference(resized, wanted), 2e-6 * wanted.abs().max().item<double>());
  const at::Tensor transposed = ResizePositionTable(table, 8, 6, PositionResize::kSize).squeeze(0);
  EXPECT_GT(LargestDifference(transposed, wanted), 0.01);
}

TEST(PositionTablesTest, TheSameGridIsUntouchedAndLeadingDimensionKept) {
  const at::Tensor table = at::rand({1, 10, 4});
  for (const auto flavour :
       {PositionResize::kSize, PositionResize::kSizeAntialias, PositionResize::kScaleOffset}) {
    EXPECT_TRUE(at::equal(ResizePositionTable(table, 3, 3, flavour), table));
    const at::Tensor grown = ResizePositionTable(table, 4, 5, flavour);
    EXPECT_EQ(grown.sizes(), at::IntArrayRef({1, 21, 4}));
    EXPECT_TRUE(at::equal(grown.slice(1, 0, 1), table.slice(1, 0, 1)));
  }
}

TEST(PositionTablesTest, ATableThatIsNotSquareThrows) {
  EXPECT_THROW(ResizePositionTable(at::rand({8, 4}), 4, 4, PositionResize::kSize), c10::Error);
}

// The view of CLIP-L/14: 224 pixels shrunk to 196 before the teacher's normalisation.
TEST(PositionTablesTest, PixelsAreResizedAsTheReferenceDoes) {
  const GoldenFile golden("maskalign_step_l14");
  const at::Tensor view = golden.Tensor("input.view", at::kDouble).permute({0, 3, 1, 2}) / 255.0;
  const auto channels = [](double r, double g, double b) {
    return at::tensor({r, g, b}, at::kDouble).view({1, 3, 1, 1});
  };
  const at::Tensor normalized =
      (view - channels(0.48145466, 0.4578275, 0.40821073)) / channels(0.26862954, 0.26130258, 0.27577711);
  const at::Tensor wanted = golden.Tensor("output.teacher.pixel_values", at::kDouble);
  const at::Tensor resized = ResizePixels(normalized, 196, 196);
  EXPECT_LE(LargestDifference(resized, wanted), 4e-7 * wanted.abs().max().item<double>());
  // Single precision rounds its input and its result, and nothing between.
  const at::Tensor single = ResizePixels(normalized.to(at::kFloat), 196, 196);
  EXPECT_EQ(single.scalar_type(), at::kFloat);
  EXPECT_LE(LargestDifference(single, wanted), 1e-6);
  // Every view by itself, bit for bit.
  const at::Tensor two = ResizePixels(at::cat({at::zeros_like(normalized), normalized}), 196, 196);
  EXPECT_TRUE(at::equal(two[1], resized[0]));
  EXPECT_THROW(ResizePixels(normalized, 0, 196), c10::Error);
}

TEST(PositionTablesTest, SinCosMatchesTheReference) {
  const GoldenFile golden("position_tables");
  for (const auto& [width, grid] : {std::pair{32, 6}, std::pair{48, 4}, std::pair{64, 14}}) {
    const std::string name = absl::StrCat("output.sincos.d", width, ".grid", grid);
    SCOPED_TRACE(name);
    EXPECT_LE(LargestDifference(SinCosPositions(width, grid).squeeze(0), golden.Tensor(name, at::kDouble)),
              1e-7);
  }
}

}  // namespace
}  // namespace afterimage
