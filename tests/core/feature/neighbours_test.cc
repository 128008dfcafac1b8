#include "core/feature/neighbours.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;

// The class token, then two by two patches, of one channel.
TEST(NeighboursTest, TheMiddleIsRoundedDownAndTheFirstPatchIsAsItIs) {
  const std::vector<uint8_t> codes = {9, 10, 251, 20, 30};  // the third is -5
  std::vector<uint8_t> residuals(5);
  PredictFromNeighbours(2, 1, codes.data(), residuals.data());
  // -5 - 10, 20 - 10, 30 - (20 - 5) / 2
  EXPECT_THAT(residuals, ElementsAre(9, 10, 241, 10, 23));
  AddNeighbours(2, 1, residuals.data());
  EXPECT_EQ(residuals, codes);
}

TEST(NeighboursTest, BothWaysAgreeAndUndoEachOther) {
  std::mt19937 random(1);
  for (const size_t width : {1, 7, 31, 32, 33, 100, 257}) {
    for (const uint32_t grid : {1u, 2u, 5u}) {
      std::vector<uint8_t> codes((1 + grid * grid) * width);
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
      std::vector<uint8_t> portably(codes.size()), widely(codes.size());
      internal::PredictFromNeighboursPortably(grid, width, codes.data(), portably.data());
      PredictFromNeighbours(grid, width, codes.data(), widely.data());
      EXPECT_EQ(portably, widely) << width;
      internal::AddNeighboursPortably(grid, width, portably.data());
      EXPECT_EQ(portably, codes) << width;
      AddNeighbours(grid, width, widely.data());
      EXPECT_EQ(widely, codes) << width;
    }
  }
}

}  // namespace
}  // namespace afterimage
