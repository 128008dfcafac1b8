#include "core/feature/manifest.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/core/feature/golden_bytes.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::MakeSyntheticManifest;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::SyntheticImageKey;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace golden = ::afterimage::testing::golden;

ImageKey CountingKey(uint8_t first) {
  ImageKey key;
  for (size_t i = 0; i < key.bytes.size(); ++i) key.bytes[i] = static_cast<uint8_t>(first + i);
  return key;
}

Manifest GoldenManifest() {
  return Manifest::FromOccurrences({CountingKey(0), CountingKey(0xf0), CountingKey(0)});
}

TEST(ManifestTest, BytesAndDigestAreFrozen) {
  EXPECT_EQ(GoldenManifest().digest().Hex(), golden::kManifestDigest);
  EXPECT_EQ(HexEncode(AsBytes(GoldenManifest().Serialize())), golden::kManifestBytes);
  const Manifest once = Manifest::FromOccurrences({CountingKey(0xf0), CountingKey(0)});
  EXPECT_EQ(HexEncode(AsBytes(once.Serialize())), golden::kOnceBytes);
}

TEST(ManifestTest, EqualImagesAreOneKeyWithSeveralOccurrences) {
  const ImageKey a = CountingKey(1);
  const ImageKey b = CountingKey(2);
  const ImageKey c = CountingKey(3);
  const Manifest manifest = Manifest::FromOccurrences({c, b, a, b, b});
  EXPECT_THAT(manifest.keys(), ElementsAre(a, b, c));
  EXPECT_EQ(manifest.num_occurrences(), 5u);
  EXPECT_EQ(manifest.multiplicity(0), 1u);
  EXPECT_EQ(manifest.multiplicity(1), 3u);
  EXPECT_EQ(manifest.multiplicity(2), 1u);
  EXPECT_EQ(manifest.FirstOccurrence(2), 4u);
  std::vector<size_t> indices;
  for (uint64_t i = 0; i < 5; ++i) indices.push_back(manifest.KeyIndexOfOccurrence(i));
  EXPECT_THAT(indices, ElementsAre(0, 1, 1, 1, 2));
}

TEST(ManifestTest, TheDigestDependsOnContentAndNotOnOrder) {
  const ImageKey a = CountingKey(1);
  const ImageKey b = CountingKey(2);
  EXPECT_EQ(Manifest::FromOccurrences({a, b}).digest(), Manifest::FromOccurrences({b, a}).digest());
  EXPECT_NE(Manifest::FromOccurrences({a, b}).digest(), Manifest::FromOccurrences({a, b, b}).digest());
  EXPECT_NE(Manifest::FromOccurrences({a, a, b}).digest(), Manifest::FromOccurrences({a, b, b}).digest());
}

TEST(ManifestTest, ParseGivesBackWhatWasSerialized) {
  for (const Manifest& manifest :
       {GoldenManifest(), MakeSyntheticManifest(100), Manifest::FromOccurrences({})}) {
    const std::string bytes = manifest.Serialize();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Manifest parsed, Manifest::Parse(AsBytes(bytes)));
    EXPECT_EQ(parsed.digest(), manifest.digest());
    EXPECT_EQ(parsed.keys(), manifest.keys());
    EXPECT_EQ(parsed.num_occurrences(), manifest.num_occurrences());
    EXPECT_EQ(parsed.Serialize(), bytes);
  }
}

TEST(ManifestTest, EveryFlippedBitIsFound) {
  const std::string good = GoldenManifest().Serialize();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_THAT(Manifest::Parse(AsBytes(bad)), StatusIs(absl::StatusCode::kDataLoss)) << "bit " << bit;
  }
}

TEST(ManifestTest, EveryTruncationIsFound) {
  const std::string good = GoldenManifest().Serialize();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(Manifest::Parse(AsBytes(good.substr(0, size))), StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
  EXPECT_THAT(Manifest::Parse(AsBytes(good + 'x')), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(ManifestTest, ErrorsSayWhatIsWrong) {
  std::string version = GoldenManifest().Serialize();
  version[8] = 2;
  EXPECT_THAT(
      Manifest::Parse(AsBytes(version)),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("format version 2, this program reads version 1")));
  std::string count = GoldenManifest().Serialize();
  count[22] = 1;  // 2^48 keys more
  EXPECT_THAT(Manifest::Parse(AsBytes(count)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("do not hold exactly")));
  std::string key = GoldenManifest().Serialize();
  key[33] = 7;
  EXPECT_THAT(Manifest::Parse(AsBytes(key)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(golden::kManifestDigest)));
  std::string order = GoldenManifest().Serialize();
  order[48] = 0;
  order[32] = 1;
  EXPECT_THAT(Manifest::Parse(AsBytes(order)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("key 1 is not above")));
}

TEST(ManifestTest, ShardsPartitionTheKeys) {
  const Manifest manifest = MakeSyntheticManifest(200);
  for (const uint32_t num_shards : {1u, 2u, 3u, 7u, 64u, 1000u}) {
    size_t end = 0;
    for (uint32_t shard = 0; shard < num_shards; ++shard) {
      const KeyIndexRange range = ShardKeys(manifest, shard, num_shards);
      EXPECT_EQ(range.begin, end);
      end = range.end;
      for (size_t i = range.begin; i < range.end; ++i)
        EXPECT_EQ(ShardOfKey(manifest.keys()[i], num_shards), shard);
    }
    EXPECT_EQ(end, manifest.num_keys());
  }
}

TEST(ManifestTest, AShardIsAFractionOfTheFirst32Bits) {
  ImageKey key;
  EXPECT_EQ(ShardOfKey(key, 3), 0u);
  key.bytes = {0x55, 0x55, 0x55, 0x55};  // 3 * 0x55555555 < 2^32
  EXPECT_EQ(ShardOfKey(key, 3), 0u);
  key.bytes[3] = 0x56;
  EXPECT_EQ(ShardOfKey(key, 3), 1u);
  key.bytes = {0xff, 0xff, 0xff, 0xff};
  EXPECT_EQ(ShardOfKey(key, 3), 2u);
}

LabelTable GoldenLabels() { return {.labels = {0, 1, -1}, .class_names = {"cat", "b\u00e4r"}}; }

TEST(LabelTableTest, BytesAndDigestAreFrozen) {
  EXPECT_EQ(GoldenLabels().Digest().Hex(), golden::kLabelDigest);
  EXPECT_EQ(HexEncode(AsBytes(GoldenLabels().Serialize())), golden::kLabelBytes);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelTable parsed,
                                  LabelTable::Parse(AsBytes(GoldenLabels().Serialize())));
  EXPECT_EQ(parsed.labels, GoldenLabels().labels);
  EXPECT_EQ(parsed.class_names, GoldenLabels().class_names);
}

TEST(LabelTableTest, EveryFlippedBitAndTruncationIsFound) {
  const std::string good = GoldenLabels().Serialize();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_THAT(LabelTable::Parse(AsBytes(bad)), StatusIs(absl::StatusCode::kDataLoss)) << "bit " << bit;
  }
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(LabelTable::Parse(AsBytes(good.substr(0, size))), StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
}

// Bytes whose digest is right but whose content is not: what a hostile writer could send.
std::string Sealed(std::string body) {
  const Digest256 digest = Sha256(AsBytes(body));
  body.append(digest.bytes.begin(), digest.bytes.end());
  return body;
}

TEST(LabelTableTest, ContentIsCheckedBehindTheDigest) {
  const std::string good = GoldenLabels().Serialize();
  const std::string body = good.substr(0, good.size() - 32);
  std::string label = body;
  label[24] = 2;
  EXPECT_THAT(LabelTable::Parse(AsBytes(Sealed(label))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("label 2 of occurrence 0")));
  std::string count = body;
  count[23] = 0x40;
  EXPECT_THAT(LabelTable::Parse(AsBytes(Sealed(count))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("too few")));
  std::string name = body;
  name[36] = 100;
  EXPECT_THAT(LabelTable::Parse(AsBytes(Sealed(name))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("class 0 is cut off")));
  EXPECT_THAT(LabelTable::Parse(AsBytes(Sealed(body + "x"))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("1 bytes too many")));
}

TEST(LabelTableTest, LabelsFollowTheManifestsOccurrences) {
  const ImageKey a = CountingKey(1);
  const ImageKey b = CountingKey(2);
  const std::vector<ImageKey> keys = {b, a, b};
  const Manifest manifest = Manifest::FromOccurrences(keys);
  const LabelTable table = LabelTable::FromOccurrences(manifest, keys, {7, 3, 5}, {});
  EXPECT_THAT(table.labels, ElementsAre(3, 5, 7));
}

}  // namespace
}  // namespace afterimage
