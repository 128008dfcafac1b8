// Packed pixels inside feature blocks.
#include <string>
#include <vector>

#include "core/feature/feature_block.h"
#include "core/feature/feature_block_layout.h"
#include "gmock/gmock.h"
#include "tests/core/feature/golden_bytes.h"
#include "tests/core/feature/golden_record.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::GoldenRecord;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;
namespace golden = ::afterimage::testing::golden;

// The golden record with patches of 12 x 12 pixels, which are a slope.
FeatureRecord Record() {
  FeatureRecord record = GoldenRecord();
  record.view_size = 24;
  record.pixels.clear();
  for (int k = 0; k < 4; ++k) {
    for (int y = 0; y < 12; ++y) {
      for (int x = 0; x < 12; ++x) {
        for (const int value : {40 + 3 * x + 2 * y + 10 * k, 90 + 2 * x + y + x * y % 3, 200 - x - y}) {
          record.pixels.push_back(static_cast<uint8_t>(value));
        }
      }
    }
  }
  return record;
}

PinnedBytes Packed(Codec codec = Codec::kF16) {
  return PinnedBytes::FromString(EncodeFeatureBlock(Record(), codec, nullptr, PixelCoding::kPacked).value());
}

TEST(FeatureBlockPixelsTest, TheGoldenBlockIsRead) {
  const std::string bytes = HexDecode(golden::kBlockPackedPixels).value();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
  EXPECT_TRUE(block.has_packed_pixels());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
  testing::ExpectEqualRecords(record, Record());
}

TEST(FeatureBlockPixelsTest, ABlockSaysTheVersionThatItsPixelsNeed) {
  const PinnedBytes packed = Packed();
  EXPECT_EQ(LoadLittleEndian<uint32_t>(packed.bytes.data() + block::kVersionAt), 3u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(packed.bytes));
  EXPECT_LT(block.PixelBytes(), 4u * 432);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
  testing::ExpectEqualRecords(record, Record());
  // Where packing saves nothing the block is what it was before there was any.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string small, EncodeFeatureBlock(GoldenRecord(), Codec::kF16,
                                                                              nullptr, PixelCoding::kPacked));
  EXPECT_EQ(HexEncode(AsBytes(small)), golden::kBlockF16);
}

TEST(FeatureBlockPixelsTest, RowsAreReadByThemselves) {
  const PinnedBytes packed = Packed();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(packed.bytes));
  const std::vector<uint8_t> all = Record().pixels;
  std::vector<uint8_t> rows(2 * 432);
  AFTERIMAGE_ASSERT_OK(block.ReadPixels(std::vector<uint16_t>{3, 1}, rows));
  EXPECT_TRUE(std::equal(rows.begin(), rows.begin() + 432, all.begin() + 3 * 432));
  EXPECT_TRUE(std::equal(rows.begin() + 432, rows.end(), all.begin() + 432));
  EXPECT_THAT(block.ReadPixels(std::vector<uint16_t>{3, 4}, rows),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("patch row 4")));
  EXPECT_THAT(block.ReadPixels({}, rows),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4 rows of 432")));
}

// So that a program that knows nothing of packing reads what travels.
TEST(FeatureBlockPixelsTest, APartIsTheOneOfARecordWithRawPixels) {
  const PinnedBytes packed = Packed();
  const PinnedBytes raw = PinnedBytes::FromString(EncodeFeatureBlock(Record(), Codec::kF16).value());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(packed.bytes));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock of_raw, FeatureBlock::Parse(raw.bytes));
  const std::vector<uint16_t> mask = {3, 0};
  for (const Selection& selection :
       {Selection{.tokens = Selection::Tokens::kMask}, Selection{.encoding = Selection::Encoding::kF32},
        Selection{.no_levels = true}, Selection{.pixels = false}}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes cut, SelectFromBlock(block, packed, selection, mask));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock part, FeatureBlock::Parse(cut.bytes));
    AFTERIMAGE_EXPECT_OK(part.VerifyAll());
    EXPECT_EQ(LoadLittleEndian<uint32_t>(cut.bytes.data() + block::kVersionAt), 1u);
    EXPECT_EQ(part.record_digest(), block.record_digest());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes expected,
                                    SelectFromBlock(of_raw, raw, selection, mask));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock expected_part, FeatureBlock::Parse(expected.bytes));
    testing::ExpectEqualRecords(part.ToRecord().value(), expected_part.ToRecord().value());
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes whole, SelectFromBlock(block, packed, {}, {}));
  EXPECT_EQ(whole.bytes.data(), packed.bytes.data());
}

TEST(FeatureBlockPixelsTest, EveryTruncationAndEveryFlippedBitIsFound) {
  const PinnedBytes packed = Packed();
  const std::vector<uint8_t> good(packed.bytes.begin(), packed.bytes.end());
  for (size_t size = 0; size < good.size(); ++size) {
    const std::vector<uint8_t> cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THAT(FeatureBlock::Parse(cut), StatusIs(absl::StatusCode::kDataLoss)) << size;
  }
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::vector<uint8_t> bad = good;
    bad[bit / 8] = static_cast<uint8_t>(bad[bit / 8] ^ 1 << bit % 8);
    const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(bad);
    EXPECT_FALSE(block.ok() && block->ToRecord().ok()) << bit;
  }
}

}  // namespace
}  // namespace afterimage
