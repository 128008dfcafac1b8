#include "cache_server/service/shared_region.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::Eq;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Optional;
using testing::StatusIs;

constexpr uint64_t kBlock = 16 << 10;
constexpr uint64_t kMinBlock = 8 << 10;
constexpr uint64_t kFirst = SharedMemory::kHeaderBytes;

class SharedRegionTest : public ::testing::Test {
 protected:
  // Room for `count` blocks and not one more: the header takes the rest of a page.
  void MakeRoomFor(uint64_t count) {
    absl::StatusOr<std::unique_ptr<SharedRegion>> region = SharedRegion::Create(count * kBlock, kMinBlock);
    ASSERT_THAT(region, IsOk());
    region_ = *std::move(region);
  }
  std::optional<uint64_t> Put(uint64_t bytes = kBlock, char fill = 'x') {
    return region_->Put(AsBytes(std::string(bytes, fill)));
  }

  std::unique_ptr<SharedRegion> region_;
};

TEST_F(SharedRegionTest, ABlockGetsTheLowestPlaceThatIsFree) {
  MakeRoomFor(4);
  for (uint64_t i = 0; i < 4; ++i) EXPECT_THAT(Put(), Optional(Eq(kFirst + i * kBlock)));
  EXPECT_EQ(Put(), std::nullopt);
  AFTERIMAGE_ASSERT_OK(region_->Release(kFirst + 2 * kBlock));
  AFTERIMAGE_ASSERT_OK(region_->Release(kFirst + 1 * kBlock));
  EXPECT_THAT(Put(), Optional(Eq(kFirst + kBlock)));
}

TEST_F(SharedRegionTest, NeighboursThatAreFreeAreOnePlace) {
  MakeRoomFor(4);
  for (int i = 0; i < 4; ++i) Put();
  for (const uint64_t i : {1, 3, 2}) {
    EXPECT_EQ(Put(3 * kBlock), std::nullopt);
    AFTERIMAGE_ASSERT_OK(region_->Release(kFirst + i * kBlock));
  }
  EXPECT_THAT(Put(3 * kBlock), Optional(Eq(kFirst + kBlock)));
}

TEST_F(SharedRegionTest, WhatIsTooSmallOrTooLargeGetsNone) {
  MakeRoomFor(4);
  EXPECT_EQ(Put(kMinBlock - 1), std::nullopt);
  EXPECT_EQ(Put(64 * kBlock), std::nullopt);
  EXPECT_THAT(Put(kMinBlock), Optional(Eq(kFirst)));
}

TEST_F(SharedRegionTest, OnlyWhatWasGivenComesBackAndOnce) {
  MakeRoomFor(4);
  const auto is_refused = StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no block"));
  EXPECT_THAT(region_->Release(kFirst), is_refused);
  EXPECT_THAT(Put(), Optional(Eq(kFirst)));
  EXPECT_THAT(region_->Release(0), is_refused);
  EXPECT_THAT(region_->Release(kFirst + 1), is_refused);
  EXPECT_THAT(region_->Release(~uint64_t{0}), is_refused);
  AFTERIMAGE_EXPECT_OK(region_->Release(kFirst));
  EXPECT_THAT(region_->Release(kFirst), is_refused);
}

// What a reader sees, whatever order places come back in: no block is written into another one's place.
TEST_F(SharedRegionTest, BlocksKeepTheirBytesUntilTheyAreGivenBack) {
  MakeRoomFor(32);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto view, SharedMemoryView::Open(region_->name()));
  struct Held {
    uint64_t offset, bytes;
    char fill;
  };
  std::vector<Held> held;
  std::mt19937 random(1);
  int num_full = 0;
  for (int i = 0; i < 3000; ++i) {
    const Held next{0, kMinBlock + random() % (3 * kBlock), static_cast<char>(random())};
    if (const auto offset = Put(next.bytes, next.fill); offset.has_value() && random() % 4 != 0) {
      held.push_back({*offset, next.bytes, next.fill});
      continue;
    } else if (offset.has_value()) {
      AFTERIMAGE_ASSERT_OK(region_->Release(*offset));
    } else {
      ++num_full;
    }
    if (held.empty()) continue;
    std::swap(held[random() % held.size()], held.back());
    const ByteSpan seen = view->bytes().subspan(held.back().offset, held.back().bytes);
    const auto wanted = static_cast<uint8_t>(held.back().fill);
    ASSERT_TRUE(std::all_of(seen.begin(), seen.end(), [&](uint8_t byte) { return byte == wanted; })) << i;
    AFTERIMAGE_ASSERT_OK(region_->Release(held.back().offset));
    held.pop_back();
  }
  EXPECT_GT(num_full, 100);
  for (const Held& last : held) AFTERIMAGE_ASSERT_OK(region_->Release(last.offset));
  EXPECT_THAT(Put(32 * kBlock), Optional(Eq(kFirst)));  // all of it is one place again
}

}  // namespace
}  // namespace afterimage
