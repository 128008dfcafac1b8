// Coded rows in a batch, decoded by the CPU build of the kernel, against the decoder of feature blocks.
#include "core/feature/coded_batch.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "core/feature/feature_block.h"
#include "core/feature/scale_tables.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/feature/golden_record.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

constexpr uint32_t kLevel = 3, kGrid = 7, kRows = kGrid * kGrid + 1;

constexpr Codec kEzq66 = static_cast<Codec>(kFirstStepCodec + 33);  // a step without a name
constexpr Codec kCodecs[] = {Codec::kF32,        Codec::kF16,          Codec::kBf16, Codec::kI8x,
                             Codec::kI6x,        Codec::kI5x,          Codec::kI4x,  Codec::kEzq32,
                             Codec::kEzq16,      Codec::kEzq8,         Codec::kEzq4, Codec::kEzq2,
                             Codec::kLossless16, Codec::kLosslessBf16, kEzq66};
// Odd ones, more than the threads of a row, and one whose channels are all wide.
constexpr uint32_t kWidths[] = {1, 5, 16, 17, 27, 64, 131, 300};
constexpr uint32_t kAllWide = 27;

FeatureProfile ProfileOf(uint32_t width) {
  ProfileContent content{.width = width, .num_records = 3, .num_rows = 15};
  LevelProfile& level = content.levels.emplace_back();
  level.level = kLevel;
  level.i8x_clip = 4.5f;
  for (uint32_t c = 0; c < width; ++c) {
    if (c % 9 == 2 || width == kAllWide) level.wide.push_back(static_cast<uint16_t>(c));
    level.mean.push_back(static_cast<float>(c % 5) * 0.3f - 0.7f);
    level.sigma.push_back(static_cast<float>(c * 7 % 24 + 1) / 24);
  }
  return FeatureProfile::Create(content).value();
}

// Values within two deviations, but for `num_far` of them that no code reaches, spread over all rows; or the
// first ones of row `far_row`.
FeatureRecord RecordOf(const FeatureProfile& profile, uint32_t salt, size_t num_far, int far_row = -1) {
  FeatureRecord record = testing::GoldenRecord();
  record.pixels.clear();
  record.grid = kGrid;
  record.view_size = kGrid;
  record.importance.assign(kGrid * kGrid, 1.0f);
  record.tokens.resize(kRows);
  std::iota(record.tokens.begin(), record.tokens.end(), 0);
  LevelFeatures& level = record.levels[0];
  level.width = profile.width();
  level.mean.assign(kRows, 0.0f);
  level.inverse_deviation.assign(kRows, 1.0f);
  const LevelProfile& channels = profile.content().levels[0];
  const size_t count = size_t{kRows} * level.width;
  level.values.resize(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t hash = (i + salt) * 2654435761u >> 7;
    level.values[i] = channels.mean[i % level.width] +
                      (static_cast<float>(hash % 1001) / 250 - 2) * channels.sigma[i % level.width];
  }
  for (size_t i = 0; i < num_far; ++i) {
    const size_t at =
        far_row >= 0 ? static_cast<size_t>(far_row) * level.width + i : (i * 7919 + salt) % count;
    level.values[at] = 100.0f + static_cast<float>(i) / 8;
  }
  return record;
}

// What a device has: copies of the sealed bytes and of the tables, and nothing else.
class Device {
 public:
  Device(std::span<const uint8_t> batch, const ScaleTables& tables)
      : batch_(batch.size() / 16 + 1), tables_(tables.bytes().size() / 4 + 1) {
    std::memcpy(batch_.data(), batch.data(), batch.size());
    std::memcpy(tables_.data(), tables.bytes().data(), tables.bytes().size());
  }
  const uint8_t* batch() const { return reinterpret_cast<const uint8_t*>(batch_.data()); }
  const uint8_t* tables() const { return reinterpret_cast<const uint8_t*>(tables_.data()); }

 private:
  struct alignas(16) Unit {
    uint8_t bytes[16];
  };
  std::vector<Unit> batch_;
  std::vector<float> tables_;
};

class Samples {
 public:
  Samples(uint32_t width, std::vector<uint16_t> rows, size_t most = 4)
      : profile_(ProfileOf(width)),
        rows_(std::move(rows)),
        memory_(CodedBatch::BytesFor(most, num_rows(), width) + 16),
        batch_(Memory(CodedBatch::BytesFor(most, num_rows(), width)), num_rows(), width) {}

  size_t num_rows() const { return rows_.empty() ? kRows : rows_.size(); }
  const FeatureProfile& profile() const { return profile_; }
  CodedBatch& batch() { return batch_; }

  absl::Status Put(size_t sample, const FeatureRecord& record, Codec codec) {
    blocks_.resize(std::max(blocks_.size(), sample + 1));
    blocks_[sample] = EncodeFeatureBlock(record, codec, &profile_).value();
    return batch_.Put(sample, Block(sample), kLevel, rows_);
  }
  FeatureBlock Block(size_t sample) const {
    return FeatureBlock::Parse(AsBytes(blocks_[sample]), &profile_).value();
  }

  // By the CPU build of the kernel, over a copy.
  std::vector<uint8_t> Decode(size_t num_samples, FloatType type) {
    const ScaleTables tables(*profile_.FindCodes(kLevel));
    const size_t num_bytes = batch_.Seal(num_samples);
    const Device device(Memory(num_bytes), tables);
    std::ranges::fill(memory_, 0xaa);
    const RowsToDecode rows = batch_.View(device.batch(), tables.View(device.tables()));
    EXPECT_EQ(rows.num_rows, num_samples * num_rows());
    std::vector<uint8_t> decoded(rows.num_rows * rows.width * FloatBytes(type), 0x55);
    DecodeRowsOnCpu(rows, type, decoded.data());
    return decoded;
  }
  // By FeatureBlock.
  std::vector<float> Expected(size_t num_samples) const {
    std::vector<float> all;
    for (size_t i = 0; i < num_samples; ++i) {
      std::vector<float> values(num_rows() * profile_.width());
      EXPECT_THAT(Block(i).ReadLevel(kLevel, rows_, values), IsOk());
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

 private:
  std::span<uint8_t> Memory(size_t size) {
    const size_t shift = (16 - reinterpret_cast<uintptr_t>(memory_.data()) % 16) % 16;
    return std::span(memory_).subspan(shift, size);
  }

  const FeatureProfile profile_;
  const std::vector<uint16_t> rows_;
  std::vector<std::string> blocks_;
  std::vector<uint8_t> memory_;
  CodedBatch batch_;
};

std::vector<uint32_t> BitsOf(const std::vector<uint8_t>& decoded) {
  std::vector<uint32_t> bits(decoded.size() / 4);
  std::memcpy(bits.data(), decoded.data(), decoded.size());
  return bits;
}
std::vector<uint32_t> BitsOf(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

TEST(CodedBatchTest, EveryCodecGivesTheBitsOfTheDecoder) {
  const std::vector<uint16_t> some = {49, 0, 7, 8, 23};
  for (const uint32_t width : kWidths) {
    for (const std::vector<uint16_t>& rows : {std::vector<uint16_t>{}, some}) {
      for (const Codec codec : kCodecs) {
        Samples samples(width, rows);
        for (uint32_t i = 0; i < 3; ++i)
          ASSERT_THAT(samples.Put(i, RecordOf(samples.profile(), i, width / 2), codec), IsOk());
        EXPECT_EQ(BitsOf(samples.Decode(3, FloatType::kF32)), BitsOf(samples.Expected(3)))
            << CodecName(codec) << ", width " << width << ", " << rows.size() << " rows";
      }
    }
  }
}

TEST(CodedBatchTest, ShorterFloatsAreTheRoundedValues) {
  for (const Codec codec : kCodecs) {
    for (const FloatType type : {FloatType::kF16, FloatType::kBf16}) {
      Samples samples(131, {3, 48, 2});
      for (uint32_t i = 0; i < 2; ++i)
        ASSERT_THAT(samples.Put(i, RecordOf(samples.profile(), i, 131), codec), IsOk());
      const std::vector<uint8_t> decoded = samples.Decode(2, type);
      std::vector<uint8_t> expected;
      for (size_t i = 0; i < 2; ++i) {
        std::vector<uint8_t> values(3 * 131 * 2);
        ASSERT_THAT(samples.Block(i).ReadLevelAs(type == FloatType::kF16 ? Codec::kF16 : Codec::kBf16, kLevel,
                                                 std::vector<uint16_t>{3, 48, 2}, values),
                    IsOk());
        expected.insert(expected.end(), values.begin(), values.end());
      }
      EXPECT_EQ(decoded, expected) << CodecName(codec);
      // And those are what they say: within half a unit in the last place of float32's values.
      const std::vector<float> exact = samples.Expected(2);
      for (size_t i = 0; i < exact.size(); ++i) {
        const uint16_t bits = LoadLittleEndian<uint16_t>(decoded.data() + 2 * i);
        const float value = type == FloatType::kF16 ? HalfToFloat(bits) : Bfloat16ToFloat(bits);
        ASSERT_LE(std::abs(value - exact[i]),
                  std::abs(exact[i]) / (type == FloatType::kF16 ? 2048 : 256) + 0x1p-25f);
      }
    }
  }
}

// The threads of a block may run in any order between the barriers, and blocks too.
TEST(CodedBatchTest, TheOrderOfThreadsAndBlocksDoesNotMatter) {
  Samples samples(300, {});
  ASSERT_THAT(samples.Put(0, RecordOf(samples.profile(), 1, 250), Codec::kI5x), IsOk());
  const ScaleTables tables(*samples.profile().FindCodes(kLevel));
  std::vector<uint8_t> memory(CodedBatch::BytesFor(1, kRows, 300) + 16);
  const size_t shift = (16 - reinterpret_cast<uintptr_t>(memory.data()) % 16) % 16;
  CodedBatch batch(std::span<uint8_t>(memory).subspan(shift), kRows, 300);
  const FeatureBlock block = samples.Block(0);
  ASSERT_THAT(batch.Put(0, block, kLevel, {}), IsOk());
  batch.Seal(1);
  std::vector<float> table_memory(tables.bytes().size() / 4 + 1);
  std::memcpy(table_memory.data(), tables.bytes().data(), tables.bytes().size());
  const RowsToDecode rows =
      batch.View(memory.data() + shift, tables.View(reinterpret_cast<const uint8_t*>(table_memory.data())));
  for (const uint32_t num_threads : {1u, 32u, 1024u}) {
    std::vector<float> decoded(size_t{kRows} * 300);
    for (uint64_t row = kRows; row-- > 0;) {
      for (uint32_t thread = num_threads; thread-- > 0;)
        DecodeChannels<FloatType::kF32>(rows, decoded.data(), row, thread, num_threads);
      for (uint32_t thread = num_threads; thread-- > 0;)
        PlaceExceptions<FloatType::kF32>(rows, decoded.data(), row, thread, num_threads);
    }
    EXPECT_EQ(BitsOf(decoded), BitsOf(samples.Expected(1)));
  }
}

TEST(CodedBatchTest, SamplesMayBeCodedDifferently) {
  Samples samples(27, {});
  const FeatureProfile& profile = samples.profile();
  ASSERT_THAT(samples.Put(0, RecordOf(profile, 0, 20), Codec::kI8x), IsOk());
  ASSERT_THAT(samples.Put(1, RecordOf(profile, 1, 90), Codec::kI8x), IsOk());  // stored as f16
  ASSERT_THAT(samples.Put(2, RecordOf(profile, 2, 20), Codec::kEzq4), IsOk());
  ASSERT_THAT(samples.Put(3, RecordOf(profile, 3, 20), Codec::kI4x), IsOk());
  EXPECT_EQ(samples.Block(1).num_fallback_planes(), 1u);
  EXPECT_EQ(BitsOf(samples.Decode(4, FloatType::kF32)), BitsOf(samples.Expected(4)));
}

TEST(CodedBatchTest, BytesAreThoseOfTheCodecAndExceptionsAreFew) {
  Samples samples(300, {});
  for (uint32_t i = 0; i < 4; ++i)
    ASSERT_THAT(samples.Put(i, RecordOf(samples.profile(), i, 100), Codec::kI8x), IsOk());
  const size_t bytes = samples.batch().Seal(4);
  const size_t values = size_t{4} * kRows * 300;
  EXPECT_GT(bytes, values + 4 * 90 * sizeof(CodedException)) << "positions may coincide";
  EXPECT_LE(bytes, values + 4 * 100 * sizeof(CodedException) + (4 * kRows + 1) * sizeof(CodedRow) + 4 * 16);
}

// Rows that are little but exceptions never take more than as float32, which is what memory is made for.
TEST(CodedBatchTest, RowsFullOfExceptionsAreStoredAsFloats) {
  for (const Codec codec : {Codec::kI8x, Codec::kI4x, Codec::kEzq16}) {
    Samples samples(64, {11}, /*most=*/3);
    for (uint32_t i = 0; i < 3; ++i)
      ASSERT_THAT(samples.Put(i, RecordOf(samples.profile(), i, 64, i == 1 ? 12 : 11), codec), IsOk());
    EXPECT_EQ(samples.Block(0).num_fallback_planes(), 0u);
    const FeatureBlock block = samples.Block(0);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CodedLevel level, CodedLevel::Open(block, kLevel));
    EXPECT_NE(level.code(), RowCode::kF32);
    std::vector<CodedException> exceptions;
    level.AppendExceptions(11, exceptions);
    EXPECT_EQ(exceptions.size(), 64u);
    EXPECT_EQ(BitsOf(samples.Decode(3, FloatType::kF32)), BitsOf(samples.Expected(3)));
  }
}

TEST(CodedBatchTest, ASampleThatFailedLeavesNothing) {
  Samples samples(17, {1, 2});
  const FeatureProfile& profile = samples.profile();
  ASSERT_THAT(samples.Put(0, RecordOf(profile, 0, 9), Codec::kI8x), IsOk());
  // Put again, as after an error at another level; then one that is damaged, and one in its place.
  ASSERT_THAT(samples.Put(1, RecordOf(profile, 1, 9), Codec::kF32), IsOk());
  std::string damaged = EncodeFeatureBlock(RecordOf(profile, 2, 9), Codec::kI8x, &profile).value();
  damaged[damaged.size() - 1] = static_cast<char>(damaged[damaged.size() - 1] ^ 1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(damaged), &profile));
  const std::vector<uint16_t> rows = {1, 2};
  EXPECT_THAT(samples.batch().Put(1, block, kLevel, rows), StatusIs(absl::StatusCode::kDataLoss));
  ASSERT_THAT(samples.Put(1, RecordOf(profile, 3, 9), Codec::kI8x), IsOk());
  ASSERT_THAT(samples.Put(2, RecordOf(profile, 4, 9), Codec::kI8x), IsOk());
  EXPECT_EQ(BitsOf(samples.Decode(2, FloatType::kF32)), BitsOf(samples.Expected(2)))
      << "the third is left out";
  // The next batch in the same memory.
  ASSERT_THAT(samples.Put(0, RecordOf(profile, 5, 9), Codec::kI6x), IsOk());
  EXPECT_EQ(BitsOf(samples.Decode(1, FloatType::kF32)), BitsOf(samples.Expected(1)));
  EXPECT_TRUE(samples.Decode(0, FloatType::kF32).empty());
}

TEST(CodedBatchTest, WhatDoesNotFitIsRefused) {
  Samples samples(17, {1, 2}, /*most=*/1);
  const FeatureProfile& profile = samples.profile();
  const FeatureRecord record = RecordOf(profile, 0, 9);
  EXPECT_THAT(samples.Put(1, record, Codec::kI8x),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("sample 1 comes after 0 samples")));
  ASSERT_THAT(samples.Put(0, record, Codec::kF32), IsOk());
  EXPECT_THAT(samples.Put(1, record, Codec::kF32),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("full at sample 1")));
  const FeatureBlock block = samples.Block(0);
  const std::vector<uint16_t> three = {1, 2, 3}, absent = {1, 50};
  EXPECT_THAT(samples.batch().Put(0, block, kLevel, three),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("room for 2 rows of 17, 3 of 17")));
  EXPECT_THAT(samples.batch().Put(0, block, kLevel, absent),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 50 of a plane of 50 rows")));
  EXPECT_THAT(samples.batch().Put(0, block, 4, three),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("level 4")));
}

TEST(CodedLevelTest, RowsAreTheStoredBytesAndTheirExceptions) {
  const FeatureProfile profile = ProfileOf(27);
  const FeatureRecord record = RecordOf(profile, 3, 26);
  for (const auto& [codec, code, scale, bytes] :
       {std::tuple(Codec::kF32, RowCode::kF32, RowScale::kI8x, 108),
        {Codec::kF16, RowCode::kF16, RowScale::kI8x, 54},
        {Codec::kBf16, RowCode::kBf16, RowScale::kI8x, 54},
        {Codec::kI8x, RowCode::kI8, RowScale::kI8x, 27},
        {Codec::kI4x, RowCode::kPacked4, RowScale::kPacked4, 14 + 14},
        {Codec::kI5x, RowCode::kPacked5, RowScale::kPacked5, 14 + 4 + 14},
        {Codec::kI6x, RowCode::kPacked6, RowScale::kPacked6, 14 + 7 + 14},
        {Codec::kEzq8, RowCode::kI8, RowScale::kEzq, 27},
        {kEzq66, RowCode::kI8, RowScale::kEzq, 27},
        {Codec::kLossless16, RowCode::kF16, RowScale::kI8x, 54},
        {Codec::kLosslessBf16, RowCode::kBf16, RowScale::kI8x, 54}}) {
    const std::string encoded = EncodeFeatureBlock(record, codec, &profile).value();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block,
                                    FeatureBlock::Parse(AsBytes(encoded), &profile));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CodedLevel level, CodedLevel::Open(block, kLevel));
    EXPECT_EQ(level.code(), code) << CodecName(codec);
    EXPECT_EQ(level.scale(), scale) << CodecName(codec);
    EXPECT_EQ(level.ezq_step(), IsEzq(codec) ? EzqStep1024(codec) : 0) << CodecName(codec);
    ASSERT_EQ(level.row_bytes(), static_cast<size_t>(bytes)) << CodecName(codec);
    EXPECT_EQ(level.num_rows(), kRows);
    std::vector<uint8_t> all(kRows * level.row_bytes()), some(3 * level.row_bytes());
    ASSERT_THAT(level.CopyRows({}, all), IsOk());
    const std::vector<uint16_t> rows = {9, 3, 49};
    ASSERT_THAT(level.CopyRows(rows, some), IsOk());
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto row = std::span(all).subspan(rows[i] * level.row_bytes(), level.row_bytes());
      EXPECT_TRUE(std::ranges::equal(row, std::span(some).subspan(i * level.row_bytes(), level.row_bytes())));
    }
    std::vector<CodedException> exceptions;
    for (uint32_t row = 0; row < kRows; ++row) level.AppendExceptions(row, exceptions);
    EXPECT_EQ(exceptions.size(), NeedsProfile(codec) ? 26u : 0u) << CodecName(codec);
  }
}

TEST(CodedLevelTest, AsksForTheProfileAndRefusesWhatIsNotThere) {
  const FeatureProfile profile = ProfileOf(27), other = ProfileOf(28);
  const FeatureRecord record = RecordOf(profile, 3, 20);
  const std::string encoded = EncodeFeatureBlock(record, Codec::kI8x, &profile).value();
  for (const FeatureProfile* given : {static_cast<const FeatureProfile*>(nullptr), &other}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(encoded), given));
    EXPECT_THAT(CodedLevel::Open(block, kLevel).status(),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(profile.digest().Hex())));
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(encoded), &profile));
  EXPECT_THAT(CodedLevel::Open(block, 5).status(), StatusIs(absl::StatusCode::kNotFound));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CodedLevel level, CodedLevel::Open(block, kLevel));
  std::vector<uint8_t> target(27);
  EXPECT_THAT(level.CopyRows(std::vector<uint16_t>{50}, target),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(level.CopyRows(std::vector<uint16_t>{1, 2}, target),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("room for 27 bytes, 2 rows of 27")));
}

}  // namespace
}  // namespace afterimage
