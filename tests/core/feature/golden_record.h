// The record behind the golden blocks: 2 x 2 patches of 2 x 2 pixels, level 3 of width 3.
#pragma once

#include <cstdint>

#include "core/base/digest.h"
#include "core/feature/codec.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/feature_record.h"
#include "gtest/gtest.h"

namespace afterimage::testing {

inline FeatureRecord GoldenRecord() {
  FeatureRecord record;
  record.geometry = {.image_width = 640, .image_height = 480, .box = {10, 20, 300, 200}, .flipped = true};
  record.view_digest = 0x0123456789abcdef;
  record.view_size = 4;
  record.grid = 2;
  record.importance = {0.5f, 0.25f, 0.125f, 1.0f};
  record.tokens = {0, 1, 2, 3, 4};
  LevelFeatures& level = record.levels.emplace_back();
  level.level = 3;
  level.width = 3;
  for (int i = 0; i < 15; ++i) level.values.push_back(static_cast<float>(i - 7) * 0.375f);
  for (int row = 0; row < 5; ++row) {
    level.mean.push_back(static_cast<float>(row) * 0.5f - 1.0f);
    level.inverse_deviation.push_back(1.0f / static_cast<float>(1 << row));
  }
  for (int i = 0; i < 48; ++i) record.pixels.push_back(static_cast<uint8_t>(5 * i));
  return record;
}

// Of a block with its tokens, for sections that no encoder would write.
inline block::Header GoldenHeader(Codec codec, uint32_t width, const Digest256& profile_digest = {}) {
  const FeatureRecord record = GoldenRecord();
  block::Header header;
  header.codec = static_cast<uint8_t>(codec);
  header.geometry = record.geometry;
  header.view_size = record.view_size;
  header.grid = record.grid;
  header.num_tokens = static_cast<uint32_t>(record.tokens.size());
  header.width = width;
  header.profile_digest = profile_digest;
  return header;
}

// The record with values that bfloat16 rounds.
inline FeatureRecord FineGoldenRecord() {
  FeatureRecord record = GoldenRecord();
  for (int i = 0; i < 15; ++i)
    record.levels[0].values[static_cast<size_t>(i)] += static_cast<float>(i) / 1024.0f;
  return record;
}

inline void ExpectEqualRecords(const FeatureRecord& a, const FeatureRecord& b) {
  EXPECT_EQ(a.geometry, b.geometry);
  EXPECT_EQ(a.view_digest, b.view_digest);
  EXPECT_EQ(a.view_size, b.view_size);
  EXPECT_EQ(a.grid, b.grid);
  EXPECT_EQ(a.importance, b.importance);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.masks, b.masks);
  EXPECT_EQ(a.pixels, b.pixels);
  ASSERT_EQ(a.levels.size(), b.levels.size());
  for (size_t i = 0; i < a.levels.size(); ++i) {
    EXPECT_EQ(a.levels[i].level, b.levels[i].level);
    EXPECT_EQ(a.levels[i].width, b.levels[i].width);
    EXPECT_EQ(a.levels[i].values, b.levels[i].values);
    EXPECT_EQ(a.levels[i].mean, b.levels[i].mean);
    EXPECT_EQ(a.levels[i].inverse_deviation, b.levels[i].inverse_deviation);
  }
}

}  // namespace afterimage::testing
