#include "core/view/philox.h"

#include <array>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace afterimage {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// kat_vectors of the Random123 distribution, philox4x32 with 10 rounds.
TEST(Philox4x32Test, KnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

ImageKey KeyOf(const std::string& text) { return ImageKey::OfEncodedImage(AsBytes(text)); }

// Printed by reference.py.
TEST(ViewRandomTest, GoldenStreams) {
  ViewRandom words(KeyOf("afterimage"), 7, RandomPurpose::kCrop);
  for (const uint32_t expected :
       {0x499922a4u, 0x23b9855bu, 0x234a9924u, 0x4c3d6fc4u, 0x04d4d9b9u, 0x891a7e26u}) {
    EXPECT_EQ(words.Next32(), expected);
  }
  ViewRandom doubles(KeyOf("afterimage"), 7, RandomPurpose::kMask, 99);
  for (const uint64_t expected : {0xba01eece324e8de1u, 0xe4d55a4db07e885bu, 0x91dc8b0cfffc06c1u}) {
    EXPECT_EQ(doubles.Next64(), expected);
  }
  ViewRandom numbers(KeyOf("afterimage"), 0, RandomPurpose::kFlip);
  std::vector<uint32_t> drawn;
  for (const uint32_t bound : {1u, 2u, 10u, 1000u, 3000000000u, 3000000000u, 3000000000u, 4294967295u}) {
    drawn.push_back(numbers.NextBelow(bound));
  }
  EXPECT_THAT(drawn, ElementsAre(0, 0, 8, 287, 1314064010, 1927490637, 591880260, 684368855));
}

TEST(ViewRandomTest, EveryInputGivesAnotherStream) {
  std::set<uint64_t> first;
  int num_streams = 0;
  for (const char* key : {"a", "b"}) {
    for (const uint32_t seed : {0u, 1u}) {
      for (const RandomPurpose purpose : {RandomPurpose::kCrop, RandomPurpose::kFlip, RandomPurpose::kMask}) {
        for (const uint32_t stream : {0u, 1u}) {
          first.insert(ViewRandom(KeyOf(key), seed, purpose, stream).Next64());
          ++num_streams;
        }
      }
    }
  }
  EXPECT_EQ(first.size(), static_cast<size_t>(num_streams));
}

TEST(ViewRandomTest, NextBelowIsUniform) {
  ViewRandom random(KeyOf("uniform"), 0, RandomPurpose::kCrop);
  std::array<int, 7> counts{};
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) ++counts.at(random.NextBelow(7));
  // Five standard errors of a count: sqrt(70000 / 7 * 6 / 7) = 93.
  EXPECT_THAT(counts, Each(::testing::AllOf(::testing::Gt(10000 - 465), ::testing::Lt(10000 + 465))));
}

}  // namespace
}  // namespace afterimage
