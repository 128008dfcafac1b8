#include "client/remote/block_pool.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace afterimage {
namespace {

TEST(BlockPoolTest, MemoryComesBackWhenTheLastOwnerHasGone) {
  const auto pool = std::make_shared<BlockPool>(1 << 20);
  PinnedBytes first = pool->Pin(std::string(1000, 'x'));
  const uint8_t* memory = first.bytes.data();
  PinnedBytes second = first;
  first = PinnedBytes();
  EXPECT_EQ(pool->Take().capacity(), std::string().capacity());  // still owned
  EXPECT_EQ(std::string(second.bytes.begin(), second.bytes.end()), std::string(1000, 'x'));
  second = PinnedBytes();
  const std::string taken = pool->Take();
  EXPECT_TRUE(taken.empty());
  EXPECT_GE(taken.capacity(), 1000);
  EXPECT_EQ(reinterpret_cast<const uint8_t*>(taken.data()), memory);
}

TEST(BlockPoolTest, KeepsNoMoreThanItsLimitAndNothingRoomy) {
  const auto pool = std::make_shared<BlockPool>(1500);
  PinnedBytes first = pool->Pin(std::string(1000, 'x'));
  PinnedBytes second = pool->Pin(std::string(1000, 'y'));
  first = second = PinnedBytes();
  EXPECT_GE(pool->Take().capacity(), 1000);
  EXPECT_LT(pool->Take().capacity(), 1000);

  std::string roomy(1000, 'z');
  roomy.resize(100);
  pool->Pin(std::move(roomy));
  EXPECT_LT(pool->Take().capacity(), 100);
}

TEST(BlockPoolTest, BlocksMayOutliveThePool) {
  auto pool = std::make_shared<BlockPool>(1 << 20);
  const PinnedBytes block = pool->Pin(std::string(1000, 'x'));
  pool.reset();
  EXPECT_EQ(block.bytes[999], 'x');
}

}  // namespace
}  // namespace afterimage
