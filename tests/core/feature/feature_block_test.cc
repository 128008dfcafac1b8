#include "core/feature/feature_block.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/feature/bfloat16.h"
#include "gmock/gmock.h"
#include "tests/core/feature/golden_bytes.h"
#include "tests/core/feature/golden_record.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::afterimage::testing::ExpectEqualRecords;
using ::afterimage::testing::FineGoldenRecord;
using ::afterimage::testing::GoldenRecord;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::MakeSyntheticDescription;
using ::afterimage::testing::MakeSyntheticRecord;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::SyntheticImageKey;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace golden = ::afterimage::testing::golden;

std::string Unhex(const char* hex) { return HexDecode(hex).value(); }

TEST(FeatureBlockTest, BytesAreFrozen) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string f32, EncodeFeatureBlock(GoldenRecord(), Codec::kF32));
  EXPECT_EQ(HexEncode(AsBytes(f32)), golden::kBlockF32);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string f16, EncodeFeatureBlock(GoldenRecord(), Codec::kF16));
  EXPECT_EQ(HexEncode(AsBytes(f16)), golden::kBlockF16);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string bf16,
                                  EncodeFeatureBlock(FineGoldenRecord(), Codec::kBf16));
  EXPECT_EQ(HexEncode(AsBytes(bf16)), golden::kBlockBf16);
  const FeatureRecord visible = KeepVisible(GoldenRecord(), {{3, 0}, {2, 3}});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string union_of_masks, EncodeFeatureBlock(visible, Codec::kF16));
  EXPECT_EQ(HexEncode(AsBytes(union_of_masks)), golden::kBlockVisible);
  EXPECT_EQ(HexEncode(AsBytes(EncodeFailedBlock("not a JPEG file"))), golden::kBlockFailed);
}

TEST(FeatureBlockTest, TheGoldenBlocksAreRead) {
  for (const auto& [hex, digest, codec] :
       {std::tuple(golden::kBlockF32, golden::kRecordDigestF32, Codec::kF32),
        std::tuple(golden::kBlockF16, golden::kRecordDigestF16, Codec::kF16)}) {
    const std::string bytes = Unhex(hex);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
    EXPECT_FALSE(block.is_failure());
    EXPECT_FALSE(block.is_part());
    EXPECT_EQ(block.record_digest().Hex(), digest);
    EXPECT_EQ(block.codec(), codec);
    EXPECT_TRUE(block.profile_digest().IsZero());
    EXPECT_EQ(block.num_tokens(), 5u);
    EXPECT_EQ(block.num_masks(), 0u);
    EXPECT_EQ(block.width(), 3u);
    EXPECT_TRUE(block.has_pixels());
    EXPECT_THAT(block.levels(), ElementsAre(3));
    AFTERIMAGE_EXPECT_OK(block.VerifyAll());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
    ExpectEqualRecords(record, GoldenRecord());
  }
}

TEST(FeatureBlockTest, TheGoldenBlockInBf16IsReadRounded) {
  const std::string bytes = Unhex(golden::kBlockBf16);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
  EXPECT_EQ(block.record_digest().Hex(), golden::kRecordDigestBf16);
  EXPECT_EQ(block.codec(), Codec::kBf16);
  FeatureRecord expected = FineGoldenRecord();
  for (float& value : expected.levels[0].values) value = Bfloat16ToFloat(FloatToBfloat16(value));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
  ExpectEqualRecords(record, expected);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string again, EncodeFeatureBlock(record, Codec::kBf16));
  EXPECT_EQ(again, bytes);
}

TEST(FeatureBlockTest, TheGoldenFailureIsRead) {
  const std::string bytes = Unhex(golden::kBlockFailed);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
  EXPECT_TRUE(block.is_failure());
  EXPECT_THAT(block.failure_reason(), IsOkAndHolds(std::string("not a JPEG file")));
  AFTERIMAGE_EXPECT_OK(block.VerifyAll());
  EXPECT_THAT(block.ToRecord(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("failure")));
  EXPECT_THAT(block.Importance(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(FeatureBlockTest, AReasonMayBeEmptyAndIsCutWhenLong) {
  const std::string empty = EncodeFailedBlock("");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(empty)));
  EXPECT_THAT(block.failure_reason(), IsOkAndHolds(std::string()));
  const std::string cut = EncodeFailedBlock(std::string(100000, 'x'));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock long_block, FeatureBlock::Parse(AsBytes(cut)));
  EXPECT_THAT(long_block.failure_reason(), IsOkAndHolds(std::string(4096, 'x')));
}

TEST(FeatureBlockTest, RecordsOfEveryKindRoundTrip) {
  for (const Codec codec : {Codec::kF32, Codec::kF16}) {
    for (const TokenPolicy policy : {TokenPolicy::kAll, TokenPolicy::kVisible}) {
      for (const bool pixels : {true, false}) {
        for (const uint32_t num_masks : {1u, 3u}) {
          const SetDescription description =
              MakeSyntheticDescription({.levels = {1, 2, 4},
                                        .width = 19,
                                        .token_policy = policy,
                                        .mask = {.num_visible = 4, .num_masks = num_masks},
                                        .pixels = pixels});
          const FeatureRecord record = MakeSyntheticRecord(description, {SyntheticImageKey(1), 0});
          AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeFeatureBlock(record, codec));
          AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
          AFTERIMAGE_EXPECT_OK(block.VerifyAll());
          AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord decoded, block.ToRecord());
          ExpectEqualRecords(decoded, record);
        }
      }
    }
  }
}

TEST(FeatureBlockTest, SectionsAreAligned) {
  const SetDescription description =
      MakeSyntheticDescription({.width = 19, .token_policy = TokenPolicy::kVisible});
  const std::string bytes = ::afterimage::testing::MakeSyntheticBlock(description, {SyntheticImageKey(1), 0});
  const uint32_t num_sections = LoadLittleEndian<uint32_t>(AsBytes(bytes).data() + 28);
  ASSERT_EQ(num_sections, 8u);  // importance, tokens, masks, two planes, two statistics, pixels
  for (uint32_t i = 0; i < num_sections; ++i) {
    EXPECT_EQ(LoadLittleEndian<uint64_t>(AsBytes(bytes).data() + 144 + 40 * i + 16) % 64, 0u) << i;
  }
}

TEST(FeatureBlockTest, ReadsChosenRows) {
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kBf16}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeFeatureBlock(GoldenRecord(), codec));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
    std::vector<float> values(6);
    AFTERIMAGE_ASSERT_OK(block.ReadLevel(3, std::vector<uint16_t>{4, 1}, values));
    EXPECT_THAT(values, ElementsAre(5 * .375f, 6 * .375f, 7 * .375f, -4 * .375f, -3 * .375f, -2 * .375f));
    std::vector<uint8_t> pixels(24);
    AFTERIMAGE_ASSERT_OK(block.ReadPixels(std::vector<uint16_t>{3, 0}, pixels));
    EXPECT_EQ(pixels[0], 5 * 36);
    EXPECT_EQ(pixels[12], 0);
    EXPECT_EQ(pixels[23], 5 * 11);
  }
}

TEST(FeatureBlockTest, ReadingWhatIsNotThereIsAnError) {
  FeatureRecord record = GoldenRecord();
  record.pixels.clear();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string bytes, EncodeFeatureBlock(record, Codec::kF32));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
  std::vector<float> values(15);
  std::vector<uint8_t> pixels(48);
  EXPECT_THAT(block.ReadLevel(2, {}, values), StatusIs(absl::StatusCode::kNotFound, HasSubstr("level 2")));
  EXPECT_THAT(block.ReadLevelStatistics(2, {}, values, values),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("level 2")));
  EXPECT_THAT(block.ReadPixels({}, pixels), StatusIs(absl::StatusCode::kNotFound, HasSubstr("pixels")));
  EXPECT_THAT(block.Mask(0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mask 0")));
  EXPECT_THAT(block.ReadLevel(3, std::vector<uint16_t>{5}, std::span(values).first(3)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 5")));
  EXPECT_THAT(block.ReadLevel(3, {}, std::span(values).first(14)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("14 values")));
}

struct BadRecord {
  std::function<void(FeatureRecord&)> spoil;
  const char* message;
};

TEST(FeatureBlockTest, EncodeRefusesRecordsThatAreNotConsistent) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const BadRecord bad[] = {
      {[](FeatureRecord& r) { r.grid = 0; }, "grid"},
      {[](FeatureRecord& r) { r.grid = 256; }, "grid"},
      {[](FeatureRecord& r) { r.view_size = 0; }, "view"},
      {[](FeatureRecord& r) { r.view_size = 5; }, "pixels of a view of 5"},
      {[](FeatureRecord& r) { r.importance.pop_back(); }, "3 importance values"},
      {[&](FeatureRecord& r) { r.importance[2] = nan; }, "importance of patch 2"},
      {[](FeatureRecord& r) { r.importance[1] = -0.5f; }, "importance of patch 1"},
      {[](FeatureRecord& r) { r.tokens.clear(); }, "class token"},
      {[](FeatureRecord& r) { r.tokens[0] = 1; }, "class token"},
      {[](FeatureRecord& r) {
         r.tokens = {0, 2, 1, 3, 4};
       },
       "not ascending"},
      {[](FeatureRecord& r) { r.tokens[4] = 5; }, "token 5"},
      {[](FeatureRecord& r) { r.masks = {{}}; }, "mask 0 has 0"},
      {[](FeatureRecord& r) {
         r.masks = {{0, 1}, {0}};
       },
       "mask 1 has 1"},
      {[](FeatureRecord& r) {
         r.masks = {{0, 0}};
       },
       "comes twice"},
      {[](FeatureRecord& r) { r.masks = {{4}}; }, "patch 4"},
      {[](FeatureRecord& r) { r.levels[0].level = 0; }, "levels are not ascending"},
      {[](FeatureRecord& r) { r.levels.push_back(r.levels[0]); }, "levels are not ascending"},
      {[](FeatureRecord& r) { r.levels[0].width = 2; }, "15 values"},
      {[](FeatureRecord& r) { r.levels[0].mean.pop_back(); }, "4 means"},
      {[&](FeatureRecord& r) { r.levels[0].mean[1] = inf; }, "level 3, token 1: mean inf"},
      {[&](FeatureRecord& r) { r.levels[0].inverse_deviation[4] = nan; }, "level 3, token 4"},
      {[&](FeatureRecord& r) { r.levels[0].values[7] = nan; }, "level 3, token 2, channel 1"},
      {[&](FeatureRecord& r) { r.levels[0].values[14] = -inf; }, "level 3, token 4, channel 2"},
      {[](FeatureRecord& r) { r.pixels.pop_back(); }, "47 bytes of pixels"},
  };
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kBf16}) {
    for (const BadRecord& spoilt : bad) {
      FeatureRecord record = GoldenRecord();
      spoilt.spoil(record);
      EXPECT_THAT(EncodeFeatureBlock(record, codec),
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(spoilt.message)))
          << spoilt.message;
    }
  }
}

TEST(FeatureBlockTest, EncodeRefusesWhatF16CannotHold) {
  FeatureRecord record = GoldenRecord();
  record.levels[0].values[13] = 70000.0f;
  EXPECT_THAT(EncodeFeatureBlock(record, Codec::kF32), IsOk());
  EXPECT_THAT(EncodeFeatureBlock(record, Codec::kBf16), IsOk());
  EXPECT_THAT(
      EncodeFeatureBlock(record, Codec::kF16),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("level 3, token 4, channel 1: 70000"), HasSubstr("beyond the range of f16"))));
}

TEST(FeatureBlockTest, EncodeRefusesWhatBf16CannotHold) {
  FeatureRecord record = GoldenRecord();
  record.levels[0].values[3] = std::numeric_limits<float>::max();
  EXPECT_THAT(EncodeFeatureBlock(record, Codec::kF32), IsOk());
  EXPECT_THAT(EncodeFeatureBlock(record, Codec::kBf16),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("level 3, token 1, channel 0"),
                                                                 HasSubstr("beyond the range of bf16"))));
}

}  // namespace
}  // namespace afterimage
