// A record that every codec has something to do with, and a profile for it.
#pragma once

#include <iterator>
#include <vector>

#include "core/feature/ezq.h"
#include "core/feature/feature_record.h"
#include "core/feature/profile.h"
#include "tests/core/feature/golden_record.h"

namespace afterimage::testing {

inline constexpr size_t kWidth = 24;

inline const FeatureProfile& profile() {
  static const FeatureProfile made = [] {
    ProfileContent content{.width = kWidth, .num_records = 3, .num_rows = 15};
    for (size_t i = 0; i < 32; ++i) content.feature_id.bytes[i] = static_cast<uint8_t>(i);
    LevelProfile& level = content.levels.emplace_back();
    level.level = 3;
    level.i8x_clip = 4.5f;
    level.wide = {1, 4, 5, 8, 11, 13, 20};  // an odd number
    for (size_t c = 0; c < kWidth; ++c) {
      level.mean.push_back(static_cast<float>(c % 5) * 0.25f - 0.5f);
      level.sigma.push_back(static_cast<float>(c * 7 % 24 + 1) / 32);
    }
    return FeatureProfile::Create(content).value();
  }();
  return made;
}

// One value far out.
inline FeatureRecord Record() {
  FeatureRecord record = GoldenRecord();
  record.pixels.clear();
  LevelFeatures& level = record.levels[0];
  level.width = kWidth;
  level.values.clear();
  const LevelProfile& channels = profile().content().levels[0];
  for (size_t i = 0; i < 5 * kWidth; ++i) {
    const float sigmas = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) / 16;
    level.values.push_back(channels.mean[i % kWidth] + sigmas * channels.sigma[i % kWidth]);
  }
  level.values[4 * kWidth + 5] = 30.5f;
  return record;
}

// Every codec that has a name, and two steps of ezq that have none.
inline std::vector<Codec> Codecs() {
  std::vector<Codec> codecs(std::begin(kAllCodecs), std::end(kAllCodecs));
  for (const char* const name : {"ezq:66", "ezq:240"}) codecs.push_back(ParseCodec(name).value());
  return codecs;
}

// The largest error of a value of Record().
inline float Bound(Codec codec) {
  if (codec == Codec::kF32) return 0;
  if (RowCodec(codec) == Codec::kF16 && !IsEzq(codec)) return 1e-3f;
  if (RowCodec(codec) == Codec::kBf16) return 1.0f / 256 * 4;
  if (IsEzq(codec)) return kEzqLargestError;
  return codec == Codec::kI8x ? kI8xLargestError : kPackedLargestError;
}

}  // namespace afterimage::testing
