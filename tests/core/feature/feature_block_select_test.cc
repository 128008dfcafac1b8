#include <string>
#include <vector>

#include "core/feature/feature_block.h"
#include "gmock/gmock.h"
#include "tests/core/feature/golden_bytes.h"
#include "tests/core/feature/golden_record.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::afterimage::testing::GoldenRecord;
using ::afterimage::testing::MakeSyntheticBlock;
using ::afterimage::testing::MakeSyntheticDescription;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::SyntheticImageKey;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace golden = ::afterimage::testing::golden;

absl::StatusOr<PinnedBytes> Select(const PinnedBytes& bytes, const Selection& selection,
                                   const std::vector<uint16_t>& mask = {}) {
  const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(bytes.bytes);
  if (!block.ok()) return block.status();
  return SelectFromBlock(*block, bytes, selection, mask);
}

PinnedBytes Golden(Codec codec) {
  return PinnedBytes::FromString(EncodeFeatureBlock(GoldenRecord(), codec).value());
}

std::string Hex(const PinnedBytes& bytes) { return HexEncode(bytes.bytes); }

TEST(SelectFromBlockTest, TheBytesOfAMaskAreFrozen) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes part,
                                  Select(Golden(Codec::kF16), {.tokens = Selection::Tokens::kMask}, {3, 0}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(part.bytes));
  EXPECT_EQ(block.record_digest().Hex(), golden::kRecordDigestF16);
  EXPECT_TRUE(block.is_part());
  EXPECT_EQ(Hex(part), golden::kBlockPart);
}

TEST(SelectFromBlockTest, TheWholeIsNotCopied) {
  const PinnedBytes whole = Golden(Codec::kF16);
  for (const Selection& selection :
       {Selection{}, Selection{.levels = {3}}, Selection{.encoding = Selection::Encoding::kF16}}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes part, Select(whole, selection));
    EXPECT_EQ(part.bytes.data(), whole.bytes.data());
    EXPECT_EQ(part.bytes.size(), whole.bytes.size());
  }
}

TEST(SelectFromBlockTest, TheWholeIsVerified) {
  std::string damaged = EncodeFeatureBlock(GoldenRecord(), Codec::kF16).value();
  damaged.back() ^= 1;
  const PinnedBytes bytes = PinnedBytes::FromString(damaged);
  EXPECT_THAT(Select(bytes, {}), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("checksum")));
  EXPECT_THAT(Select(bytes, {.levels = {3}, .tokens = Selection::Tokens::kMask}, {0}),
              StatusIs(absl::StatusCode::kDataLoss));
  AFTERIMAGE_EXPECT_OK(Select(bytes, {.pixels = false}));  // what is damaged is not asked for
}

TEST(SelectFromBlockTest, VerifiedBytesAreNotVerifiedAgainNorWhatIsCutOutOfThem) {
  std::string damaged = EncodeFeatureBlock(GoldenRecord(), Codec::kF16).value();
  damaged.back() ^= 1;
  PinnedBytes bytes = PinnedBytes::FromString(damaged);
  EXPECT_FALSE(bytes.verified);
  bytes.verified = true;  // though they are not: who says so, answers for it
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(bytes));
  for (const Selection& selection : {Selection{}, Selection{.tokens = Selection::Tokens::kMask}}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes part,
                                    SelectFromBlock(block, bytes, selection, std::vector<uint16_t>{0}));
    EXPECT_TRUE(part.verified);
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock from_bytes, FeatureBlock::Parse(bytes.bytes));
  EXPECT_THAT(from_bytes.VerifyAll(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("checksum")));
}

TEST(SelectFromBlockTest, TranscodingThereAndBackGivesTheSameNumbers) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes f32,
                                  Select(Golden(Codec::kF16), {.encoding = Selection::Encoding::kF32}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock f32_block, FeatureBlock::Parse(f32.bytes));
  EXPECT_EQ(f32_block.codec(), Codec::kF32);
  EXPECT_EQ(f32_block.record_digest().Hex(), golden::kRecordDigestF16);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, f32_block.ToRecord());
  ::afterimage::testing::ExpectEqualRecords(record, GoldenRecord());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes f16,
                                  Select(f32, {.encoding = Selection::Encoding::kF16}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock f16_block, FeatureBlock::Parse(f16.bytes));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord again, f16_block.ToRecord());
  ::afterimage::testing::ExpectEqualRecords(again, GoldenRecord());
}

TEST(SelectFromBlockTest, TravelsAsBf16Rounded) {
  const PinnedBytes whole = PinnedBytes::FromString(
      EncodeFeatureBlock(::afterimage::testing::FineGoldenRecord(), Codec::kF32).value());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const PinnedBytes part,
      Select(whole, {.tokens = Selection::Tokens::kMask, .encoding = Selection::Encoding::kBf16}, {2, 1}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(part.bytes));
  EXPECT_EQ(block.codec(), Codec::kBf16);
  const std::string stored = HexDecode(golden::kBlockBf16).value();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock direct, FeatureBlock::Parse(AsBytes(stored)));
  std::vector<float> values(9), expected(9);
  AFTERIMAGE_ASSERT_OK(block.ReadLevel(3, {}, values));
  AFTERIMAGE_ASSERT_OK(direct.ReadLevel(3, std::vector<uint16_t>{0, 3, 2}, expected));
  EXPECT_EQ(values, expected);
}

TEST(SelectFromBlockTest, APartOfAPartIsAPart) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const PinnedBytes mask, Select(Golden(Codec::kF32), {.tokens = Selection::Tokens::kMask}, {2, 3, 0}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes smaller,
                                  Select(mask, {.no_levels = true, .pixels = false}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(smaller.bytes));
  EXPECT_THAT(block.Tokens().value(), ElementsAre(0, 3, 4, 1));
  EXPECT_THAT(block.Mask(0).value(), ElementsAre(2, 3, 0));
  EXPECT_EQ(block.record_digest().Hex(), golden::kRecordDigestF32);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes other,
                                  Select(mask, {.tokens = Selection::Tokens::kMask}, {0, 3}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock other_block, FeatureBlock::Parse(other.bytes));
  std::vector<float> values(9);
  AFTERIMAGE_ASSERT_OK(other_block.ReadLevel(3, {}, values));
  const std::vector<float> whole = GoldenRecord().levels[0].values;
  EXPECT_THAT(values, ElementsAre(whole[0], whole[1], whole[2], whole[3], whole[4], whole[5], whole[12],
                                  whole[13], whole[14]));
}

TEST(SelectFromBlockTest, RefusesWhatIsNotStored) {
  const PinnedBytes whole = Golden(Codec::kF32);
  EXPECT_THAT(Select(whole, {.levels = {2}}),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("level 2"), HasSubstr("stored are 3"))));
  const Selection of_mask = {.tokens = Selection::Tokens::kMask};
  EXPECT_THAT(Select(whole, of_mask), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  EXPECT_THAT(Select(whole, of_mask, {1, 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("patch 1")));
  EXPECT_THAT(Select(whole, of_mask, {4}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("patch 4")));

  const PinnedBytes visible =
      PinnedBytes::FromString(EncodeFeatureBlock(KeepVisible(GoldenRecord(), {{3, 0}}), Codec::kF32).value());
  EXPECT_THAT(Select(visible, of_mask, {0, 2}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("patch 2")));

  FeatureRecord without_pixels = GoldenRecord();
  without_pixels.pixels.clear();
  const PinnedBytes bare = PinnedBytes::FromString(EncodeFeatureBlock(without_pixels, Codec::kF32).value());
  EXPECT_THAT(Select(bare, {.no_levels = true}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("pixels")));
  AFTERIMAGE_EXPECT_OK(Select(bare, {}));

  const PinnedBytes failed = PinnedBytes::FromString(EncodeFailedBlock("no"));
  EXPECT_THAT(Select(failed, {}), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(SelectFromBlockTest, AValueBeyondF16IsRefusedWhenItTravelsAsF16) {
  FeatureRecord record = GoldenRecord();
  record.levels[0].values[7] = 1e6f;
  const PinnedBytes bytes = PinnedBytes::FromString(EncodeFeatureBlock(record, Codec::kF32).value());
  EXPECT_THAT(Select(bytes, {.encoding = Selection::Encoding::kF16}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("level 3, row 2, channel 1")));
  AFTERIMAGE_EXPECT_OK(
      Select(bytes, {.tokens = Selection::Tokens::kMask, .encoding = Selection::Encoding::kF16}, {3}));
}

TEST(SelectFromBlockTest, APartIsMuchSmaller) {
  const SetDescription description = MakeSyntheticDescription(
      {.num_levels = 12, .levels = {8, 9, 10, 11, 12}, .width = 384, .grid = 7, .view_size = 28});
  const PinnedBytes whole =
      PinnedBytes::FromString(MakeSyntheticBlock(description, {SyntheticImageKey(0), 0}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const PinnedBytes part,
      Select(whole, {.levels = {12}, .tokens = Selection::Tokens::kMask, .pixels = false}, {5, 1, 7}));
  EXPECT_LT(part.bytes.size(), whole.bytes.size() / 40);
}

}  // namespace
}  // namespace afterimage
