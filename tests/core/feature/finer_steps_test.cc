#include "core/feature/finer_steps.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/feature/profile_builder.h"
#include "gmock/gmock.h"
#include "tests/core/feature/golden_record.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

constexpr uint32_t kGrid = 10, kRows = kGrid * kGrid + 1, kWidth = 256;

// One level whose channels have deviations between 0.1 and 0.9.
FeatureRecord RecordOf(uint32_t seed) {
  FeatureRecord record = testing::GoldenRecord();
  record.pixels.clear();
  record.grid = record.view_size = kGrid;
  record.importance.assign(kGrid * kGrid, 1.0f);
  record.tokens.clear();
  for (uint16_t row = 0; row < kRows; ++row) record.tokens.push_back(row);
  LevelFeatures& level = record.levels[0];
  level.width = kWidth;
  level.mean.assign(kRows, 0.0f);
  level.inverse_deviation.assign(kRows, 1.0f);
  level.values.clear();
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (uint32_t i = 0; i < kRows * kWidth; ++i)
    level.values.push_back(normal(random) * (0.1f + 0.8f * static_cast<float>(i % kWidth) / kWidth));
  return record;
}

class FinerStepsTest : public ::testing::Test {
 protected:
  FinerStepsTest() {
    ProfileBuilder builder({}, {3}, kWidth);
    for (uint32_t i = 0; i < 8; ++i) EXPECT_TRUE(builder.Add(RecordOf(i)).ok());
    report_.profile = std::make_shared<const FeatureProfile>(builder.Finish().value());
    report_.meters = MakeMeters(*report_.profile);
    report_.num_images = 1000;
    Measure(report_.meters);
  }
  static void Measure(std::vector<CodecMeter>& meters) {
    for (uint32_t i = 8; i < 12; ++i) {
      for (CodecMeter& meter : meters) AFTERIMAGE_ASSERT_OK(meter.Add(RecordOf(i)));
    }
  }
  // As a calibration does it.
  const CodecMeter& Chosen(const CodecLimits& limits) {
    AFTERIMAGE_EXPECT_OK(
        MeasureFinerSteps(report_, limits, PixelCoding::kRaw, [](std::vector<CodecMeter>& meters) {
          Measure(meters);
          return absl::OkStatus();
        }));
    const Codec codec = ChooseCodec(report_, limits).value();
    return *std::ranges::find(report_.meters, codec, &CodecMeter::codec);
  }

  CalibrationReport report_;
};

TEST_F(FinerStepsTest, TheErrorThatIsAskedForIsMetWithinFivePercent) {
  for (double asked = 0.015; asked < 0.1; asked *= 1.13) {
    const CodecMeter& chosen = Chosen({.max_rmse = asked, .max_bytes = {}});
    EXPECT_LE(WorstRmse(chosen), asked) << CodecName(chosen.codec());
    EXPECT_GE(WorstRmse(chosen), 0.95 * asked) << CodecName(chosen.codec());
  }
}

TEST_F(FinerStepsTest, TheBytesThatThereAreAreMadeUseOf) {
  for (const CodecMeter& meter : std::vector<CodecMeter>(report_.meters)) {
    if (!IsEzq(meter.codec()) || meter.codec() == Codec::kEzq32) continue;
    const double room = 1.03 * report_.BytesPerSeed(meter);
    const CodecMeter& chosen = Chosen({.max_rmse = {}, .max_bytes = room});
    EXPECT_LE(report_.BytesPerSeed(chosen), room);
    EXPECT_LT(WorstRmse(chosen), WorstRmse(meter));
  }
}

TEST_F(FinerStepsTest, NothingIsMeasuredThatCannotBeTaken) {
  EXPECT_TRUE(MakeFinerMeters(report_, {}).empty());
  EXPECT_TRUE(MakeFinerMeters(report_, {.max_rmse = 0.0001, .max_bytes = {}}).empty());
  EXPECT_TRUE(MakeFinerMeters(report_, {.max_rmse = 3.0, .max_bytes = {}}).empty());
  for (const CodecMeter& meter : MakeFinerMeters(report_, {.max_rmse = 0.02, .max_bytes = 1e12}))
    EXPECT_TRUE(IsStepCodec(meter.codec())) << CodecName(meter.codec());
}

}  // namespace
}  // namespace afterimage
