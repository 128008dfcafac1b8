#include "client/remote/shared_blocks.h"

#include <cstring>
#include <memory>
#include <optional>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;

constexpr uint64_t kFirst = SharedMemory::kHeaderBytes;

TEST(SharedBlocksTest, APlaceComesBackWithTheLastOwner) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto memory, SharedMemory::Create(1 << 20));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto blocks, SharedBlocks::Open(memory->name()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::optional<PinnedBytes> one, blocks->Pin(kFirst, 100));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::optional<PinnedBytes> two, blocks->Pin(kFirst + 128, 100));
  std::optional<PinnedBytes> again = one;
  one.reset();
  EXPECT_THAT(blocks->TakeReleased(), IsEmpty());
  two.reset();
  again.reset();
  EXPECT_THAT(blocks->TakeReleased(), ElementsAre(kFirst + 128, kFirst));
  EXPECT_THAT(blocks->TakeReleased(), IsEmpty());
}

TEST(SharedBlocksTest, ABlockOutlivesBothSides) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto memory, SharedMemory::Create(1 << 20));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto blocks, SharedBlocks::Open(memory->name()));
  std::memset(memory->data() + kFirst, 5, 100);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, blocks->Pin(kFirst, 100));
  memory.reset();
  blocks.reset();
  EXPECT_THAT(block.bytes, ::testing::Each(5));
}

TEST(SharedBlocksTest, APlaceThatIsNotInsideIsRefused) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto memory, SharedMemory::Create(1 << 20));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto blocks, SharedBlocks::Open(memory->name()));
  const uint64_t whole = memory->name().bytes;
  const auto is_refused = StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shared memory"));
  EXPECT_THAT(blocks->Pin(0, 16), is_refused);  // the nonce
  EXPECT_THAT(blocks->Pin(kFirst, whole), is_refused);
  EXPECT_THAT(blocks->Pin(whole, 1), is_refused);
  EXPECT_THAT(blocks->Pin(whole - 10, 11), is_refused);
  EXPECT_THAT(blocks->Pin(~uint64_t{0}, 100), is_refused);
  EXPECT_THAT(blocks->Pin(kFirst, ~uint64_t{0}), is_refused);
  EXPECT_THAT(blocks->Pin(whole - 10, 10), IsOk());
}

}  // namespace
}  // namespace afterimage
