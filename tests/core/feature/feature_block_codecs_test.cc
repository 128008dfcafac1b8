// All codecs inside feature blocks; what is particular to i8x is in feature_block_i8x_test.cc.
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "core/feature/bfloat16.h"
#include "core/feature/ezq.h"
#include "core/feature/feature_block.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/half.h"
#include "gmock/gmock.h"
#include "tests/core/feature/coded_record.h"
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
using testing::Bound;
using testing::Codecs;
using testing::kWidth;
using testing::profile;
using testing::Record;

TEST(FeatureBlockCodecsTest, BytesArePackedAsTheFormatSays) {
  for (const auto& [codec, bytes] :
       {std::pair(Codec::kI6x, golden::kBlockI6x), std::pair(Codec::kI5x, golden::kBlockI5x),
        std::pair(Codec::kI4x, golden::kBlockI4x)}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string block, EncodeFeatureBlock(Record(), codec, &profile()));
    EXPECT_EQ(HexEncode(AsBytes(block)), bytes) << CodecName(codec);
  }
}

TEST(FeatureBlockCodecsTest, PackedRowsOfAnEarlierVersionAreRefusedWithTheRemedy) {
  const std::string bytes = HexDecode(golden::kBlockI4xVersion2).value();
  EXPECT_THAT(FeatureBlock::Parse(AsBytes(bytes), &profile()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("i4x in format version 2"), HasSubstr("reads version 5"),
                             HasSubstr("afterimage recode"))));
}

TEST(FeatureBlockCodecsTest, TheGoldenLosslessBlocksAreRead) {
  for (const auto& [codec, text] : {std::pair(Codec::kLossless16, golden::kBlockLossless16),
                                    std::pair(Codec::kLosslessBf16, golden::kBlockLosslessBf16)}) {
    const std::string bytes = HexDecode(text).value();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
    EXPECT_EQ(block.codec(), codec);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
    testing::ExpectEqualRecords(record, GoldenRecord());
  }
}

// With and without prediction they are the same values, and those of our own encoder.
TEST(FeatureBlockCodecsTest, TheGoldenBlocksOfEzqAreRead) {
  for (const auto& [name, text, version] :
       {std::tuple("ezq16", golden::kBlockEzq16, 2u), std::tuple("ezq16", golden::kBlockEzq16Predicted, 2u),
        std::tuple("ezq:66", golden::kBlockEzq66, 4u)}) {
    const Codec codec = ParseCodec(name).value();
    const std::string ours = EncodeFeatureBlock(Record(), codec, &profile()).value();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock own, FeatureBlock::Parse(AsBytes(ours), &profile()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord expected, own.ToRecord());
    const std::string bytes = HexDecode(text).value();
    for (const std::string& one : {ours, bytes})
      EXPECT_EQ(LoadLittleEndian<uint32_t>(AsBytes(one).data() + block::kVersionAt), version) << name;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block,
                                    FeatureBlock::Parse(AsBytes(bytes), &profile()));
    EXPECT_EQ(block.codec(), codec);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
    testing::ExpectEqualRecords(record, expected);
    EXPECT_EQ(record.levels[0].values[4 * kWidth + 5], 30.5f);
  }
}

TEST(FeatureBlockCodecsTest, EzqWithinItsRangeIsOffByHalfAStep) {
  FeatureRecord record = Record();
  record.levels[0].values[4 * kWidth + 5] = 0;
  for (const Codec codec : EzqCodecs()) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeFeatureBlock(record, codec, &profile()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block,
                                    FeatureBlock::Parse(AsBytes(bytes), &profile()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord decoded, block.ToRecord());
    for (size_t i = 0; i < 5 * kWidth; ++i) {
      EXPECT_LE(std::abs(decoded.levels[0].values[i] - record.levels[0].values[i]),
                std::max(EzqStep(codec), 8.0f / 127) / 2 + 1e-6f);
    }
  }
  EXPECT_EQ(EzqStep(Codec::kEzq32), 1.0f / 32);
  EXPECT_EQ(EzqStep(Codec::kEzq2), 0.5f);
  EXPECT_EQ(EzqStep(ParseCodec("ezq:66").value()), 66.0f / 1024);
}

// Neighbours that are alike take less when they are predicted.
TEST(FeatureBlockCodecsTest, PredictionMakesSmoothPlanesSmaller) {
  constexpr uint32_t kGrid = 14, kChannels = 64;
  ProfileContent content{.width = kChannels, .num_records = 1, .num_rows = 1};
  content.levels.push_back({3, std::vector<float>(kChannels, 0.0f), std::vector<float>(kChannels, 1.0f)});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile wide, FeatureProfile::Create(content));
  FeatureRecord record = GoldenRecord();
  record.pixels.clear();
  record.grid = kGrid;
  record.view_size = kGrid;
  record.importance.assign(kGrid * kGrid, 1.0f);
  record.tokens.clear();
  LevelFeatures& level = record.levels[0];
  level.width = kChannels;
  level.values.clear();
  for (uint32_t token = 0; token <= kGrid * kGrid; ++token) {
    record.tokens.push_back(static_cast<uint16_t>(token));
    const uint32_t patch = token == 0 ? 0 : token - 1;
    const float x = static_cast<float>(patch % kGrid), y = static_cast<float>(patch / kGrid);
    for (uint32_t c = 0; c < kChannels; ++c) {
      level.values.push_back(2 * std::sin(0.15f * (x + y) + static_cast<float>(c)));
    }
  }
  level.mean.assign(record.tokens.size(), 0.0f);
  level.inverse_deviation.assign(record.tokens.size(), 1.0f);
  const auto size_of = [&](const FeatureRecord& one) {
    return EncodeFeatureBlock(one, Codec::kEzq16, &wide).value().size();
  };
  FeatureRecord shuffled = record;  // the same numbers, without neighbours that are alike
  for (uint32_t row = 1; row <= kGrid * kGrid; ++row) {
    const uint32_t from = 1 + (row - 1) * 83 % (kGrid * kGrid);  // 83 and 196 have no common factor
    std::copy_n(record.levels[0].values.begin() + from * kChannels, kChannels,
                shuffled.levels[0].values.begin() + row * kChannels);
  }
  EXPECT_LT(static_cast<double>(size_of(record)), 0.9 * static_cast<double>(size_of(shuffled)));
  const std::string bytes = EncodeFeatureBlock(record, Codec::kEzq16, &wide).value();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes), &wide));
  std::vector<float> decoded(level.values.size());
  AFTERIMAGE_ASSERT_OK(block.ReadLevel(3, {}, decoded));
  for (size_t i = 0; i < decoded.size(); ++i)
    ASSERT_NEAR(decoded[i], level.values[i], 8.0f / 127 / 2 + 1e-5f) << i;
}

TEST(FeatureBlockCodecsTest, WhatIsDecodedIsWithinTheBoundAndEncodesToTheSameBytes) {
  for (const Codec codec : Codecs()) {
    SCOPED_TRACE(CodecName(codec));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeFeatureBlock(Record(), codec, &profile()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block,
                                    FeatureBlock::Parse(AsBytes(bytes), &profile()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
    for (size_t i = 0; i < 5 * kWidth; ++i) {
      EXPECT_LE(std::abs(record.levels[0].values[i] - Record().levels[0].values[i]), Bound(codec)) << i;
    }
    EXPECT_EQ(record.levels[0].values[4 * kWidth + 5], 30.5f);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string again, EncodeFeatureBlock(record, codec, &profile()));
    EXPECT_EQ(again, bytes);
  }
}

// Also in the encoding of rows that a codec with whole planes has.
TEST(FeatureBlockCodecsTest, RowsOfAPartAreThoseOfTheWhole) {
  for (const Codec codec : Codecs()) {
    SCOPED_TRACE(CodecName(codec));
    const PinnedBytes whole =
        PinnedBytes::FromString(EncodeFeatureBlock(Record(), codec, &profile()).value());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(whole.bytes, &profile()));
    std::vector<float> rows(3 * kWidth), direct(3 * kWidth);
    AFTERIMAGE_ASSERT_OK(block.ReadLevel(3, std::vector<uint16_t>{0, 4, 1}, direct));
    for (const Selection::Encoding encoding : {Selection::Encoding::kStored, Selection::Encoding::kF32}) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
          const PinnedBytes cut,
          SelectFromBlock(block, whole,
                          {.tokens = Selection::Tokens::kMask, .pixels = false, .encoding = encoding},
                          std::vector<uint16_t>{3, 0}));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock part, FeatureBlock::Parse(cut.bytes, &profile()));
      EXPECT_EQ(part.codec(), encoding == Selection::Encoding::kF32 ? Codec::kF32 : RowCodec(codec));
      EXPECT_EQ(part.record_digest(), block.record_digest());
      AFTERIMAGE_ASSERT_OK(part.VerifyAll());
      AFTERIMAGE_ASSERT_OK(part.ReadLevel(3, {}, rows));
      if (IsEzq(codec) && encoding == Selection::Encoding::kStored) {
        for (size_t i = 0; i < rows.size(); ++i)
          EXPECT_NEAR(rows[i], direct[i], std::abs(direct[i]) / 2048) << i;
      } else {
        EXPECT_EQ(rows, direct);
      }
    }
    // A part of whole planes keeps the codec.
    FeatureRecord two_levels = GoldenRecord();
    two_levels.levels.push_back(two_levels.levels[0]);
    two_levels.levels[1].level = 4;
    if (NeedsProfile(codec)) continue;
    const PinnedBytes both = PinnedBytes::FromString(EncodeFeatureBlock(two_levels, codec).value());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock both_parsed, FeatureBlock::Parse(both.bytes));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes one,
                                    SelectFromBlock(both_parsed, both, {.levels = {4}}, {}));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock one_parsed, FeatureBlock::Parse(one.bytes));
    EXPECT_EQ(one_parsed.codec(), codec);
    std::vector<float> level(15);
    AFTERIMAGE_ASSERT_OK(one_parsed.ReadLevel(4, {}, level));
    EXPECT_EQ(level, two_levels.levels[1].values);
  }
}

TEST(FeatureBlockCodecsTest, LevelsAreReadAsHalvesAsTheyWouldBeRounded) {
  const std::vector<uint16_t> some = {0, 4, 1};
  for (const Codec codec : Codecs()) {
    SCOPED_TRACE(CodecName(codec));
    const std::string bytes = EncodeFeatureBlock(Record(), codec, &profile()).value();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block,
                                    FeatureBlock::Parse(AsBytes(bytes), &profile()));
    std::vector<float> values(some.size() * kWidth);
    AFTERIMAGE_ASSERT_OK(block.ReadLevel(3, some, values));
    std::vector<uint8_t> halves(2 * values.size()), brains(halves), floats(4 * values.size());
    AFTERIMAGE_ASSERT_OK(block.ReadLevelAs(Codec::kF16, 3, some, halves));
    AFTERIMAGE_ASSERT_OK(block.ReadLevelAs(Codec::kBf16, 3, some, brains));
    AFTERIMAGE_ASSERT_OK(block.ReadLevelAs(Codec::kF32, 3, some, floats));
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(LoadLittleEndian<uint16_t>(halves.data() + 2 * i), FloatToHalf(values[i]));
      EXPECT_EQ(LoadLittleEndian<uint16_t>(brains.data() + 2 * i), FloatToBfloat16(values[i]));
      EXPECT_EQ(LoadLittleEndian<float>(floats.data() + 4 * i), values[i]);
    }
    std::vector<float> all(5 * kWidth);
    std::vector<uint8_t> all_halves(2 * all.size());
    AFTERIMAGE_ASSERT_OK(block.ReadLevel(3, {}, all));
    AFTERIMAGE_ASSERT_OK(block.ReadLevelAs(Codec::kF16, 3, {}, all_halves));
    for (size_t i = 0; i < all.size(); ++i)
      EXPECT_EQ(LoadLittleEndian<uint16_t>(all_halves.data() + 2 * i), FloatToHalf(all[i])) << i;
  }
}

TEST(FeatureBlockCodecsTest, ReadingAsAFormatThatIsTooSmallNamesTheValue) {
  FeatureRecord record = Record();
  record.levels[0].values[2 * kWidth + 7] = 1e5f;
  const std::string bytes = EncodeFeatureBlock(record, Codec::kF32).value();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
  std::vector<uint8_t> target(5 * kWidth * 2);
  EXPECT_THAT(block.ReadLevelAs(Codec::kF16, 3, {}, target),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("level 3, row 2, channel 7"), HasSubstr("f16"))));
  AFTERIMAGE_EXPECT_OK(block.ReadLevelAs(Codec::kBf16, 3, {}, target));
  EXPECT_THAT(block.ReadLevelAs(Codec::kI8x, 3, {}, target),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("i8x")));
  EXPECT_THAT(block.ReadLevelAs(Codec::kF16, 3, {}, std::span(target).first(10)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("room for 5")));
}

TEST(FeatureBlockCodecsTest, EveryCutAndEveryFlippedBitIsDataLoss) {
  for (const Codec codec : Codecs()) {
    SCOPED_TRACE(CodecName(codec));
    const std::string good = EncodeFeatureBlock(Record(), codec, &profile()).value();
    const auto read = [&](const std::string& bytes) {
      const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(AsBytes(bytes), &profile());
      return block.ok() ? block->ToRecord().status() : block.status();
    };
    for (size_t size = 0; size < good.size(); ++size) {
      EXPECT_THAT(read(good.substr(0, size)), StatusIs(absl::StatusCode::kDataLoss)) << size;
    }
    for (size_t bit = 0; bit < 8 * good.size(); bit += 3) {
      std::string damaged = good;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
      EXPECT_FALSE(read(damaged).ok()) << bit;
    }
  }
}

TEST(FeatureBlockCodecsTest, NumbersThatAreNoneAreRefusedWithLevelAndToken) {
  for (const Codec codec : Codecs()) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      FeatureRecord record = Record();
      record.levels[0].values[2 * kWidth + 7] = bad;
      EXPECT_THAT(EncodeFeatureBlock(record, codec, &profile()),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           AllOf(HasSubstr("level 3"), HasSubstr("token 2"), HasSubstr("channel 7"),
                                 HasSubstr("not a finite number"))))
          << CodecName(codec);
    }
  }
}

// Frames that decode to something else than the header says, under checksums that are right.
TEST(FeatureBlockCodecsTest, ACodedPlaneOfAnotherSizeIsDataLoss) {
  const auto sealed = [&](const std::vector<uint8_t>& plane) {
    block::Writer writer;
    writer.Declare(block::SectionKind::kImportance, 0, block::ElementType::kF32, 1, 4);
    writer.Declare(block::SectionKind::kPlane, 3, block::ElementType::kCodedF16, 1,
                   static_cast<uint32_t>(plane.size()));
    writer.Declare(block::SectionKind::kStatistics, 3, block::ElementType::kF32, 2, 5);
    writer.Allocate();
    std::copy(plane.begin(), plane.end(), writer.section(1));
    return writer.Seal(GoldenHeader(Codec::kLossless16, 3), nullptr);
  };
  const std::vector<uint8_t> small = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 0x19, 0, 0, 'a', 'b', 'c'};
  std::vector<uint8_t> wrong(15, 0);
  wrong.insert(wrong.end(), small.begin(), small.end());
  for (const std::vector<uint8_t>& plane :
       {small, wrong, std::vector<uint8_t>(15, 0), std::vector<uint8_t>(40, 0xff)}) {
    const std::string damaged = sealed(plane);
    const absl::StatusOr<FeatureBlock> parsed = FeatureBlock::Parse(AsBytes(damaged));
    std::vector<float> values(15);
    const absl::Status read = parsed.ok() ? parsed->ReadLevel(3, {}, values) : parsed.status();
    EXPECT_THAT(read, StatusIs(absl::StatusCode::kDataLoss));
  }
}

// The length of packed rows follows from the profile's list of wide channels: rows of another length, under
// right checksums, are none of its.
TEST(FeatureBlockCodecsTest, PackedRowsOfAnotherLengthThanTheProfileSaysAreDataLoss) {
  const auto sealed = [&](uint32_t columns) {
    block::Writer writer;
    writer.Declare(block::SectionKind::kImportance, 0, block::ElementType::kF32, 1, 4);
    writer.Declare(block::SectionKind::kPlane, 3, block::ElementType::kPacked4, 5, columns);
    writer.Declare(block::SectionKind::kStatistics, 3, block::ElementType::kF32, 2, 5);
    writer.Allocate();
    return writer.Seal(GoldenHeader(Codec::kI4x, kWidth, profile().digest()), nullptr);
  };
  // Half a byte for each channel, and for each wide one, of which there are seven.
  constexpr uint32_t kCodes = kWidth / 2, kMost = kCodes + kWidth / 2;
  for (const uint32_t columns : {kCodes, kCodes + 3, kCodes + 4, kCodes + 5, kMost}) {
    const std::string bytes = sealed(columns);
    const absl::Status parsed = FeatureBlock::Parse(AsBytes(bytes), &profile()).status();
    if (columns == kCodes + 4) {
      AFTERIMAGE_EXPECT_OK(parsed);
    } else {
      EXPECT_THAT(parsed, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("does not fit the header")));
    }
    // Whoever has no profile, or another one, can copy rows, and no more.
    ProfileContent content = profile().content();
    content.levels[0].wide.pop_back();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile other, FeatureProfile::Create(content));
    for (const FeatureProfile* const given : {static_cast<const FeatureProfile*>(nullptr), &other}) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes), given));
      AFTERIMAGE_EXPECT_OK(block.VerifyAll());
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes part,
                                      SelectFromBlock(block, PinnedBytes::FromString(bytes),
                                                      {.tokens = Selection::Tokens::kMask, .pixels = false},
                                                      std::vector<uint16_t>{3, 0}));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock cut, FeatureBlock::Parse(part.bytes, given));
      EXPECT_EQ(cut.LevelBytes(3), 3 * columns);
      std::vector<float> values(5 * kWidth);
      EXPECT_THAT(block.ReadLevel(3, {}, values), StatusIs(absl::StatusCode::kFailedPrecondition));
    }
  }
  for (const uint32_t columns : {kCodes - 1, kMost + 1}) {
    EXPECT_THAT(FeatureBlock::Parse(AsBytes(sealed(columns))),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("does not fit the header")));
  }
}

}  // namespace
}  // namespace afterimage
