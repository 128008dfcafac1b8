#include "core/feature/codec_error.h"

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::afterimage::testing::MakeSyntheticDescription;
using ::afterimage::testing::MakeSyntheticProfile;
using ::afterimage::testing::MakeSyntheticRecord;
using ::afterimage::testing::SyntheticImageKey;

const SetDescription kDescription = MakeSyntheticDescription({.width = 64, .codec = Codec::kF32});

TEST(CodecMeterTest, ACodecThatHoldsTheValuesLosesNothing) {
  for (const auto& [codec, bytes] : {std::pair(Codec::kF32, 4.0), std::pair(Codec::kF16, 2.0)}) {
    CodecMeter meter(codec, nullptr);
    for (uint64_t i = 0; i < 3; ++i) {
      AFTERIMAGE_ASSERT_OK(meter.Add(MakeSyntheticRecord(kDescription, {SyntheticImageKey(i), 0})));
    }
    const CodecError total = meter.Total();
    EXPECT_EQ(total.num_values, 3u * 2 * 17 * 64);
    EXPECT_EQ(total.BytesPerValue(), bytes);
    EXPECT_EQ(total.Rmse(), 0);
    EXPECT_EQ(total.largest, 0);
    EXPECT_NEAR(total.worst_cosine, 1, 1e-12);
    EXPECT_EQ(meter.num_records(), 3u);
    EXPECT_GT(meter.BytesPerRecord(), 2 * 17 * 64 * bytes);
  }
}

TEST(CodecMeterTest, MeasuresErrorsByHand) {
  FeatureRecord record = MakeSyntheticRecord(kDescription, {SyntheticImageKey(0), 0});
  for (LevelFeatures& level : record.levels) std::fill(level.values.begin(), level.values.end(), 1.0f);
  record.levels[1].values[64 * 3 + 5] = 1.0f + 0x1p-9f;            // bf16 makes it 1
  for (size_t i = 0; i < 64; ++i) record.levels[1].values[i] = 0;  // a token of length 0 has no angle
  CodecMeter meter(Codec::kBf16, nullptr);
  AFTERIMAGE_ASSERT_OK(meter.Add(record));
  EXPECT_EQ(meter.levels().at(3).largest, 0);
  const CodecError& error = meter.levels().at(4);
  EXPECT_EQ(error.largest, 0x1p-9);
  EXPECT_NEAR(error.Rmse(), 0x1p-9 / std::sqrt(17.0 * 64), 1e-12);
  EXPECT_LT(error.worst_cosine, 1);
  EXPECT_GT(error.worst_cosine, 0.99999);
}

TEST(CodecMeterTest, CountsPlanesThatDoNotFitTheProfile) {
  const FeatureProfile profile = MakeSyntheticProfile(kDescription);
  FeatureRecord record = MakeSyntheticRecord(kDescription, {SyntheticImageKey(0), 0});
  record.levels[0].values[100] = 77.0f;  // an exception: 8 bytes more
  for (float& value : record.levels[1].values) value *= 20;
  CodecMeter meter(Codec::kI8x, &profile);
  AFTERIMAGE_ASSERT_OK(meter.Add(record));
  EXPECT_EQ(meter.levels().at(3).num_bytes, 17u * 64 + 8);
  EXPECT_EQ(meter.levels().at(3).num_fallback_planes, 0u);
  EXPECT_EQ(meter.levels().at(4).num_bytes, 17u * 64 * 2);
  EXPECT_EQ(meter.levels().at(4).num_fallback_planes, 1u);
  EXPECT_EQ(meter.Total().num_planes, 2u);
}

}  // namespace
}  // namespace afterimage
