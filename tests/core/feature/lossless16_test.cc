#include "core/feature/lossless16.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "core/base/copy_past_caches.h"
#include "core/feature/bfloat16.h"
#include "core/feature/entropy.h"
#include "core/feature/half.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;

std::vector<float> Normal(size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(Lossless16Test, EveryPatternOfBitsComesBack) {
  std::vector<uint8_t> plane(2 << 16);
  for (size_t i = 0; i < plane.size() / 2; ++i) {
    plane[2 * i] = static_cast<uint8_t>(i);
    plane[2 * i + 1] = static_cast<uint8_t>(i >> 8);
  }
  const std::vector<uint8_t> bytes = EncodeLossless16(plane);
  std::vector<uint8_t> decoded(plane.size());
  AFTERIMAGE_ASSERT_OK(DecodeLossless16(bytes, decoded));
  EXPECT_EQ(decoded, plane);
}

TEST(Lossless16Test, BothWaysAgree) {
  std::mt19937 random(2);
  for (const size_t count : {1, 15, 16, 31, 33, 1000, 1027}) {
    std::vector<uint8_t> plane(2 * count);
    for (uint8_t& byte : plane) byte = static_cast<uint8_t>(random());
    const std::vector<uint8_t> bytes = EncodeLossless16(plane);
    EXPECT_EQ(internal::EncodeLossless16Portably(plane), bytes) << count;
    std::vector<uint8_t> decoded(plane.size());
    AFTERIMAGE_ASSERT_OK(internal::DecodeLossless16Portably(bytes, decoded));
    EXPECT_EQ(decoded, plane) << count;
    AFTERIMAGE_ASSERT_OK(DecodeLossless16(bytes, decoded));
    EXPECT_EQ(decoded, plane) << count;
  }
}

// Those go past the caches, where they are aligned for it.
TEST(Lossless16Test, LargePlanesComeToAnyPlace) {
  std::mt19937 random(3);
  for (const size_t count : {kPastCachesFromBytes / 2 - 1, kPastCachesFromBytes / 2, size_t{40'033}}) {
    std::vector<uint8_t> plane(2 * count);
    for (uint8_t& byte : plane) byte = static_cast<uint8_t>(random());
    const std::vector<uint8_t> bytes = EncodeLossless16(plane);
    for (const size_t offset : {0, 1, 2, 16, 30, 31}) {
      constexpr size_t kMargin = 64;
      std::vector<uint8_t> memory(plane.size() + 2 * kMargin, 0xee);
      const std::span<uint8_t> target(memory.data() + kMargin / 2 + offset, plane.size());
      AFTERIMAGE_ASSERT_OK(DecodeLossless16(bytes, target));
      ASSERT_TRUE(std::ranges::equal(target, plane)) << count << " " << offset;
      EXPECT_EQ(target.data()[-1], 0xee);
      EXPECT_EQ(target.data()[target.size()], 0xee);
    }
  }
}

// The entropy of the upper byte is 2.55 bits in bfloat16 and 5.5 in binary16, of normal values.
TEST(Lossless16Test, NormalValuesTakeWhatTheirEntropyIs) {
  const std::vector<float> values = Normal(200'000);
  std::vector<uint8_t> plane(2 * values.size());
  EncodeBfloat16s(values, plane.data());
  EXPECT_LT(static_cast<double>(EncodeLossless16(plane).size()) / static_cast<double>(values.size()), 1.34);
  EncodeHalves(values, plane.data());
  EXPECT_LT(static_cast<double>(EncodeLossless16(plane).size()) / static_cast<double>(values.size()), 1.72);
}

TEST(Lossless16Test, DamageIsDataLossAndNeverReadsBeyondTheBytes) {
  std::vector<uint8_t> plane(2 * 3000);
  EncodeHalves(Normal(3000), plane.data());
  const std::vector<uint8_t> bytes = EncodeLossless16(plane);
  std::vector<uint8_t> decoded(plane.size());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THAT(DecodeLossless16(cut, decoded), StatusIs(absl::StatusCode::kDataLoss)) << size;
  }
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  EXPECT_THAT(DecodeLossless16(longer, decoded), StatusIs(absl::StatusCode::kDataLoss));
  std::vector<uint8_t> smaller(plane.size() - 2);
  EXPECT_THAT(DecodeLossless16(bytes, smaller), StatusIs(absl::StatusCode::kDataLoss));
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {  // whatever comes out, nothing is written outside
    std::vector<uint8_t> damaged = bytes;
    for (int k = 0; k < 3; ++k)
      damaged[3000 + random() % (damaged.size() - 3000)] ^= static_cast<uint8_t>(1 + random() % 255);
    DecodeLossless16(damaged, decoded).IgnoreError();
  }
}

TEST(HuffmanFrameTest, AFrameThatPromisesMoreThanThereIsRoomForIsRefused) {
  std::vector<uint8_t> frame;
  AppendHuffmanFrame(std::vector<uint8_t>(1 << 20, 7), frame);
  EXPECT_LT(frame.size(), 200u);  // a bomb, if sizes came from the frame
  std::vector<uint8_t> target(1000);
  EXPECT_THAT(ReadHuffmanFrame(frame, target),
              StatusIs(absl::StatusCode::kDataLoss, ::testing::HasSubstr("1048576")));
  EXPECT_THAT(ReadHuffmanFrame(std::vector<uint8_t>{1, 2, 3}, target), StatusIs(absl::StatusCode::kDataLoss));
  // A frame in the form of the format's specification (RFC 8878) with one raw block: what another writer may
  // write.
  const std::vector<uint8_t> raw = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c'};
  std::vector<uint8_t> three(3);
  AFTERIMAGE_ASSERT_OK(ReadHuffmanFrame(raw, three));
  EXPECT_EQ(three, (std::vector<uint8_t>{'a', 'b', 'c'}));
}

}  // namespace
}  // namespace afterimage
