#include "core/base/bytes.h"

#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;

TEST(BytesTest, LittleEndianRoundTrip) {
  std::string buffer;
  AppendLittleEndian<uint16_t>(0x1234, buffer);
  AppendLittleEndian<uint64_t>(0x0102030405060708, buffer);
  AppendLittleEndian(1.5f, buffer);
  ASSERT_EQ(buffer.size(), 2u + 8u + 4u);
  EXPECT_THAT(AsBytes(buffer).first(4), ElementsAre(0x34, 0x12, 0x08, 0x07));
  EXPECT_EQ(LoadLittleEndian<uint16_t>(AsBytes(buffer).data()), 0x1234);
  EXPECT_EQ(LoadLittleEndian<uint64_t>(AsBytes(buffer).data() + 2), 0x0102030405060708u);
  EXPECT_EQ(LoadLittleEndian<float>(AsBytes(buffer).data() + 10), 1.5f);
}

TEST(PinnedBytesTest, CopiesShareTheOwnerAndOutliveTheOriginal) {
  PinnedBytes copy;
  {
    const PinnedBytes original = PinnedBytes::FromString("short");  // short strings live inside the object
    copy = original;
    EXPECT_EQ(copy.bytes.data(), original.bytes.data());
  }
  EXPECT_EQ(std::string(copy.bytes.begin(), copy.bytes.end()), "short");
  EXPECT_EQ(copy.owner.use_count(), 1);
}

}  // namespace
}  // namespace afterimage
