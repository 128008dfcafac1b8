#include "cache_server/storage/store_keys.h"

#include <algorithm>

#include "core/base/digest.h"
#include "core/feature/manifest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace afterimage {
namespace {

ImageKey KeyOfPrefix(uint32_t prefix, uint8_t rest = 0) {
  ImageKey key;
  key.bytes.fill(rest);
  for (size_t i = 0; i < 4; ++i) key.bytes[i] = static_cast<uint8_t>(prefix >> (24 - 8 * i));
  return key;
}

TEST(StoreKeysTest, RecordKeyBytesAreGolden) {
  const RecordKey key{ImageKey::FromHex("000102030405060708090a0b0c0d0e0f").value(), 0x01020304};
  EXPECT_EQ(HexEncode(AsBytes(RecordStoreKey(key))), "01020304000102030405060708090a0b0c0d0e0f");
  EXPECT_EQ(ParseRecordStoreKey(RecordStoreKey(key)), key);
}

TEST(StoreKeysTest, FenceAndMarkerKeyBytesAreGolden) {
  UnitId unit{.shard = 1, .seed_begin = 2, .seed_end = 4};
  unit.manifest.bytes.fill(0xab);
  std::string manifest;
  for (int i = 0; i < 32; ++i) manifest += "ab";
  EXPECT_EQ(HexEncode(AsBytes(FenceStoreKey(unit, 3, 2))),
            "00000003"
            "80000000"
            "000000000000000000000000" +
                manifest);
  EXPECT_EQ(HexEncode(AsBytes(MarkerStoreKey(unit, 3, 2))),
            "00000003"
            "ffffffff"
            "ffffffffffffffffffffffff" +
                manifest);
  unit.shard = 0;
  EXPECT_EQ(HexEncode(AsBytes(MarkerStoreKey(unit, 3, 2))),
            "00000003"
            "7fffffff"
            "ffffffffffffffffffffffff" +
                manifest);
  EXPECT_EQ(ParseRecordStoreKey(FenceStoreKey(unit, 3, 2)), std::nullopt);
  EXPECT_EQ(ParseRecordStoreKey(MarkerStoreKey(unit, 3, 2)), std::nullopt);
}

TEST(StoreKeysTest, FirstKeyOfShardIsTheLeastKeyThatTheManifestPutsThere) {
  for (const uint32_t num_shards : {1u, 2u, 3u, 7u, 64u, 1000u, 65536u}) {
    for (uint32_t shard = 0; shard < num_shards; shard += 1 + num_shards / 13) {
      const ImageKey first = FirstKeyOfShard(shard, num_shards);
      EXPECT_EQ(ShardOfKey(first, num_shards), shard) << num_shards;
      EXPECT_EQ(ShardOfKey(LastKeyOfShard(shard, num_shards), num_shards), shard) << num_shards;
      if (shard == 0) continue;
      const uint32_t prefix = static_cast<uint32_t>(first.bytes[0]) << 24 | first.bytes[1] << 16 |
                              first.bytes[2] << 8 | first.bytes[3];
      EXPECT_EQ(ShardOfKey(KeyOfPrefix(prefix - 1, 0xff), num_shards), shard - 1) << num_shards;
      EXPECT_EQ(LastKeyOfShard(shard - 1, num_shards), KeyOfPrefix(prefix - 1, 0xff)) << num_shards;
    }
  }
}

TEST(StoreKeysTest, FenceAndMarkerEncloseTheRecordsOfTheirShardAndSeedAndNothingElse) {
  constexpr uint32_t kShards = 5;
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    UnitId unit{.shard = shard};
    unit.manifest.bytes.fill(0xff);
    const std::string fence = FenceStoreKey(unit, 7, kShards);
    const std::string marker = MarkerStoreKey(unit, 7, kShards);
    const ImageKey first = FirstKeyOfShard(shard, kShards);
    const ImageKey last = LastKeyOfShard(shard, kShards);
    ImageKey second = first;
    second.bytes[15] = 1;
    EXPECT_GT(fence, RecordStoreKey({last, 6}));
    EXPECT_LT(fence, RecordStoreKey({second, 7}));
    EXPECT_GT(marker, RecordStoreKey({last, 7}));
    EXPECT_LT(marker, RecordStoreKey({first, 8}));
    if (shard > 0) {
      EXPECT_GT(fence, RecordStoreKey({LastKeyOfShard(shard - 1, kShards), 7}));
    }
    if (shard + 1 < kShards) {
      EXPECT_LT(marker, RecordStoreKey({FirstKeyOfShard(shard + 1, kShards), 7}));
    }
  }
}

}  // namespace
}  // namespace afterimage
