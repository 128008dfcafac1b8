// The codec i8x inside feature blocks: its sections, its profile, parts of it, and its damage.
#include <limits>
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

using ::afterimage::testing::GoldenHeader;
using ::afterimage::testing::GoldenRecord;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
namespace golden = ::afterimage::testing::golden;

constexpr size_t kWidth = 12;

FeatureProfile Profile() {
  ProfileContent content{.width = kWidth, .num_records = 3, .num_rows = 15};
  for (size_t i = 0; i < 32; ++i) content.feature_id.bytes[i] = static_cast<uint8_t>(i);
  LevelProfile third{.level = 3, .i8x_clip = 4.375f};
  for (size_t c = 0; c < kWidth; ++c) {
    third.mean.push_back(static_cast<float>(c) * 0.25f - 1.0f);
    third.sigma.push_back(static_cast<float>(c + 1) * 0.125f);
  }
  third.sigma[0] = 0;
  third.sigma[11] = 8;
  content.levels = {third, {4, std::vector<float>(kWidth, 0.0f), std::vector<float>(kWidth, 0.0078125f)}};
  return FeatureProfile::Create(content).value();
}

FeatureRecord Record() {
  FeatureRecord record = GoldenRecord();
  record.levels.push_back(record.levels[0]);
  record.levels[1].level = 4;
  for (LevelFeatures& level : record.levels) {
    level.width = kWidth;
    level.values.clear();
    for (size_t i = 0; i < 5 * kWidth; ++i) {
      const size_t c = i % kWidth;
      const float offset = static_cast<float>(static_cast<int>(i % 7) - 3) * (c == 0 ? 0.0078125f : 0.25f);
      level.values.push_back(offset + (level.level == 3 ? static_cast<float>(c) * 0.25f - 1.0f : 0.0f));
    }
  }
  record.levels[0].values[4 * kWidth + 5] = 30.5f;
  return record;
}

const FeatureProfile& profile() {
  static const FeatureProfile made = Profile();
  return made;
}

std::string Block() { return EncodeFeatureBlock(Record(), Codec::kI8x, &profile()).value(); }

TEST(FeatureBlockI8xTest, BytesAreFrozen) {
  EXPECT_EQ(profile().digest().Hex(), golden::kI8xProfileDigest);
  EXPECT_EQ(HexEncode(AsBytes(Block())), golden::kBlockI8x);
}

TEST(FeatureBlockI8xTest, TheGoldenBlockIsReadWithItsProfile) {
  const std::string bytes = HexDecode(golden::kBlockI8x).value();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes), &profile()));
  EXPECT_EQ(block.codec(), Codec::kI8x);
  EXPECT_EQ(block.profile_digest(), profile().digest());
  EXPECT_EQ(block.num_fallback_planes(), 1u);  // level 4
  EXPECT_EQ(block.LevelBytes(3), 60u + 8u);
  EXPECT_EQ(block.LevelBytes(4), 2u * 60);
  EXPECT_EQ(block.LevelBytes(5), 0u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
  const FeatureRecord exact = Record();
  for (size_t i = 0; i < exact.levels[0].values.size(); ++i) {
    EXPECT_NEAR(record.levels[0].values[i], exact.levels[0].values[i], kI8xLargestStep / 2) << i;
  }
  EXPECT_EQ(record.levels[0].values[4 * kWidth + 5], 30.5f);
  EXPECT_EQ(record.levels[1].values, exact.levels[1].values);  // f16 holds them
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string again,
                                  EncodeFeatureBlock(record, Codec::kI8x, &profile()));
  EXPECT_EQ(again, bytes);
  std::vector<float> rows(2 * kWidth);
  AFTERIMAGE_ASSERT_OK(block.ReadLevel(3, std::vector<uint16_t>{4, 1}, rows));
  EXPECT_EQ(rows[5], 30.5f);
  EXPECT_EQ(rows[kWidth], record.levels[0].values[kWidth]);
}

TEST(FeatureBlockI8xTest, WithoutItsProfileValuesAreRefusedAndTheRestIsRead) {
  const std::string bytes = Block();
  ProfileContent content = profile().content();
  content.levels.erase(content.levels.begin());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile other, FeatureProfile::Create(content));
  for (const FeatureProfile* const given : {static_cast<const FeatureProfile*>(nullptr), &other}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes), given));
    AFTERIMAGE_EXPECT_OK(block.VerifyAll());
    AFTERIMAGE_EXPECT_OK(block.Importance());
    const std::string told = given == nullptr ? "no profile was given" : other.digest().Hex();
    const auto is_refused = StatusIs(absl::StatusCode::kFailedPrecondition,
                                     AllOf(HasSubstr(profile().digest().Hex()), HasSubstr(told)));
    EXPECT_THAT(block.ToRecord(), is_refused);
    const PinnedBytes pinned = PinnedBytes::FromString(bytes);
    EXPECT_THAT(SelectFromBlock(block, pinned, {.encoding = Selection::Encoding::kF32}, {}), is_refused);
    AFTERIMAGE_EXPECT_OK(
        SelectFromBlock(block, pinned, {.tokens = Selection::Tokens::kMask}, std::vector<uint16_t>{1}));
    std::vector<float> values(5 * kWidth);
    AFTERIMAGE_EXPECT_OK(block.ReadLevel(4, {}, values));  // a plane of halves needs none
  }
  EXPECT_THAT(EncodeFeatureBlock(Record(), Codec::kI8x),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("needs a profile")));
  EXPECT_THAT(EncodeFeatureBlock(Record(), Codec::kI8x, &other),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("level 3"), HasSubstr(other.digest().Hex()))));
}

TEST(FeatureBlockI8xTest, ValuesThatNoLayerNormGivesAreRefused) {
  for (const float bad :
       {256.5f, std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    FeatureRecord record = Record();
    record.levels[1].values[2 * kWidth + 7] = bad;
    EXPECT_THAT(EncodeFeatureBlock(record, Codec::kI8x, &profile()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("level 4, token 2, channel 7")));
  }
}

TEST(FeatureBlockI8xTest, AMaskTakesItsRowsAndTheirExceptions) {
  const PinnedBytes whole = PinnedBytes::FromString(Block());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(whole.bytes));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const PinnedBytes part,
      SelectFromBlock(block, whole, {.levels = {3}, .tokens = Selection::Tokens::kMask, .pixels = false},
                      std::vector<uint16_t>{3, 0}));
  EXPECT_EQ(HexEncode(part.bytes), golden::kBlockI8xPart);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const PinnedBytes without,
      SelectFromBlock(block, whole, {.levels = {3}, .tokens = Selection::Tokens::kMask, .pixels = false},
                      std::vector<uint16_t>{2, 1}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock decoded, FeatureBlock::Parse(without.bytes, &profile()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock direct, FeatureBlock::Parse(whole.bytes, &profile()));
  std::vector<float> values(3 * kWidth), expected(3 * kWidth);
  AFTERIMAGE_ASSERT_OK(decoded.ReadLevel(3, {}, values));
  AFTERIMAGE_ASSERT_OK(direct.ReadLevel(3, std::vector<uint16_t>{0, 3, 2}, expected));
  EXPECT_EQ(values, expected);
}

TEST(FeatureBlockI8xTest, TravelsAsF32WithoutItsProfile) {
  const PinnedBytes whole = PinnedBytes::FromString(Block());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(whole.bytes, &profile()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes f32,
                                  SelectFromBlock(block, whole, {.encoding = Selection::Encoding::kF32}, {}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock parsed, FeatureBlock::Parse(f32.bytes));
  EXPECT_EQ(parsed.codec(), Codec::kF32);
  EXPECT_TRUE(parsed.profile_digest().IsZero());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, parsed.ToRecord());
  ::afterimage::testing::ExpectEqualRecords(record, block.ToRecord().value());
}

absl::Status ReadAll(ByteSpan bytes) {
  const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(bytes, &profile());
  if (!block.ok()) return block.status();
  if (absl::Status status = block->VerifyAll(); !status.ok()) return status;
  return block->ToRecord().status();
}

TEST(FeatureBlockI8xTest, EveryTruncationAndEveryFlippedBitIsFound) {
  for (const char* const hex : {golden::kBlockI8x, golden::kBlockI8xPart}) {
    const std::string good = HexDecode(hex).value();
    ASSERT_TRUE(ReadAll(AsBytes(good)).ok());
    for (size_t size = 0; size < good.size(); ++size) {
      const std::vector<uint8_t> cut(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
      EXPECT_THAT(ReadAll(cut), StatusIs(absl::StatusCode::kDataLoss)) << size;
    }
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
      const uint32_t version = LoadLittleEndian<uint32_t>(AsBytes(bad).data() + block::kVersionAt);
      const bool unknown = version == 0 || version > kFeatureBlockVersion;
      const absl::Status status = ReadAll(AsBytes(bad));
      EXPECT_THAT(status,
                  StatusIs(unknown ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kDataLoss))
          << "byte " << bit / 8 << ", bit " << bit % 8;
    }
  }
}

// Exceptions that lie under right checksums.
TEST(FeatureBlockI8xTest, ExceptionsThatLieAreRefused) {
  block::Header header = GoldenHeader(Codec::kI8x, kWidth, profile().digest());
  const auto sealed = [&](const std::vector<PlaneException>& exceptions, uint32_t of_level = 3) {
    block::Writer writer;
    writer.Declare(block::SectionKind::kImportance, 0, block::ElementType::kF32, 1, 4);
    writer.Declare(block::SectionKind::kPlane, 3, block::ElementType::kI8, 5, kWidth);
    writer.Declare(block::SectionKind::kPlane, 4, block::ElementType::kF16, 5, kWidth);
    for (const uint32_t level : {3u, 4u}) {
      writer.Declare(block::SectionKind::kStatistics, level, block::ElementType::kF32, 2, 5);
    }
    writer.DeclareExceptions(of_level, exceptions);
    writer.Allocate();
    return writer.Seal(header, nullptr);
  };
  AFTERIMAGE_EXPECT_OK(ReadAll(AsBytes(sealed({{0, 1.0f}, {59, 2.0f}}))));
  AFTERIMAGE_EXPECT_OK(ReadAll(AsBytes(sealed({}))));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::vector<PlaneException>> lies = {{{60, 1.0f}},           {{7, 1.0f}, {7, 1.0f}},
                                                         {{7, 1.0f}, {6, 1.0f}}, {{7, nan}},
                                                         {{7, 257.0f}},          {{0xffffffff, 1.0f}}};
  for (const std::vector<PlaneException>& lie : lies) {
    const std::string bytes = sealed(lie);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block,
                                    FeatureBlock::Parse(AsBytes(bytes), &profile()));
    EXPECT_THAT(block.VerifyAll(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("an exception of")));
    std::vector<float> values(5 * kWidth);
    EXPECT_THAT(block.ReadLevel(3, {}, values), StatusIs(absl::StatusCode::kDataLoss));
    EXPECT_THAT(
        SelectFromBlock(block, PinnedBytes::FromString(bytes),
                        {.tokens = Selection::Tokens::kMask, .pixels = false}, std::vector<uint16_t>{1}),
        StatusIs(absl::StatusCode::kDataLoss));
  }
  EXPECT_THAT(ReadAll(AsBytes(sealed({{7, 1.0f}}, 4))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("does not fit the header")));
  EXPECT_THAT(ReadAll(AsBytes(sealed({{7, 1.0f}}, 5))), StatusIs(absl::StatusCode::kDataLoss));
  header.profile_digest = {};
  EXPECT_THAT(ReadAll(AsBytes(sealed({}))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("with the profile")));
}

}  // namespace
}  // namespace afterimage
