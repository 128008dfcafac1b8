// What every FeatureStore does.
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "core/feature/feature_block.h"
#include "gmock/gmock.h"
#include "tests/conformance/cache_under_test.h"

namespace afterimage::testing {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FeatureStoreConformance : public CacheConformance {
 protected:
  // A set with pictures 0..n-1 at view seeds 0..K-1.
  OpenedSet Filled(const SetDescription& description, uint64_t num_images, uint32_t num_view_seeds,
                   const FailsFunction& fails = {}) {
    const Digest256 manifest = PutManifest(MakeSyntheticManifest(num_images));
    OpenedSet set = CreateAndOpen(description);
    EXPECT_THAT(FillSet(set, manifest, num_view_seeds, fails), IsOk());
    return set;
  }
  static RecordKey Key(uint64_t image, uint32_t view_seed = 0) {
    return {SyntheticImageKey(image), view_seed};
  }
  static std::string Text(ByteSpan bytes) { return std::string(bytes.begin(), bytes.end()); }

  // Reads one record and decodes it; fails the test on the way.
  static FeatureRecord ReadDecoded(FeatureStore& store, const RecordKey& key, const Selection& selection,
                                   const MaskChoice& mask = {}) {
    const absl::StatusOr<PinnedBytes> bytes = ReadOne(store, key, selection, mask);
    EXPECT_THAT(bytes, IsOk());
    if (!bytes.ok()) return FeatureRecord();
    const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(bytes->bytes, store.profile());
    EXPECT_THAT(block, IsOk());
    if (!block.ok()) return FeatureRecord();
    absl::StatusOr<FeatureRecord> record = block->ToRecord();
    EXPECT_THAT(record, IsOk());
    return record.ok() ? *std::move(record) : FeatureRecord();
  }

  // That `part` is what `whole` has at token `part.tokens[i]` in row i, at each of its levels.
  static void ExpectRowsOf(const FeatureRecord& part, const FeatureRecord& whole) {
    ASSERT_EQ(part.importance, whole.importance);
    for (const LevelFeatures& level : part.levels) {
      const auto source =
          std::find_if(whole.levels.begin(), whole.levels.end(),
                       [&](const LevelFeatures& other) { return other.level == level.level; });
      ASSERT_NE(source, whole.levels.end());
      for (size_t row = 0; row < part.tokens.size(); ++row) {
        const auto at = std::find(whole.tokens.begin(), whole.tokens.end(), part.tokens[row]);
        ASSERT_NE(at, whole.tokens.end());
        const size_t stored = at - whole.tokens.begin();
        EXPECT_EQ(level.mean[row], source->mean[stored]);
        EXPECT_EQ(level.inverse_deviation[row], source->inverse_deviation[stored]);
        EXPECT_TRUE(std::equal(level.values.begin() + row * level.width,
                               level.values.begin() + (row + 1) * level.width,
                               source->values.begin() + stored * level.width));
        if (row == 0 || part.pixels.empty()) continue;
        const size_t patch_bytes = size_t{3} * part.patch_size() * part.patch_size();
        EXPECT_TRUE(std::equal(part.pixels.begin() + (row - 1) * patch_bytes,
                               part.pixels.begin() + row * patch_bytes,
                               whole.pixels.begin() + (stored - 1) * patch_bytes));
      }
    }
  }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FeatureStoreConformance);

TEST_P(FeatureStoreConformance, GivesBackTheBytesThatWerePublished) {
  const SetDescription description = MakeSyntheticDescription();
  const OpenedSet set = Filled(description, 6, 2);
  for (uint64_t image = 0; image < 6; ++image) {
    for (uint32_t seed = 0; seed < 2; ++seed) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, ReadOne(*set.store, Key(image, seed)));
      EXPECT_EQ(Text(block.bytes), MakeSyntheticBlock(description, Key(image, seed)));
    }
  }
}

TEST_P(FeatureStoreConformance, AReadOnlyStoreGivesTheSame) {
  const SetDescription description = MakeSyntheticDescription();
  Filled(description, 3, 1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  catalog().OpenSet(description.set.Id(), OpenMode::kRead));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, ReadOne(*set.store, Key(1)));
  EXPECT_EQ(Text(block.bytes), MakeSyntheticBlock(description, Key(1)));
}

TEST_P(FeatureStoreConformance, ResultsComeInTheOrderOfTheKeysAskedFor) {
  const SetDescription description = MakeSyntheticDescription();
  const OpenedSet set = Filled(description, 8, 2);
  const std::vector<RecordKey> keys = {Key(7), Key(0, 1), Key(7), Key(100), Key(3, 1), Key(3, 0)};
  std::vector<size_t> indices;
  std::vector<std::string> blocks;
  AFTERIMAGE_ASSERT_OK(set.store->Read(keys, {}, {}, [&](size_t index, RecordResult result) {
    indices.push_back(index);
    blocks.push_back(Text(result.block.bytes));
    EXPECT_EQ(result.state, index == 3 ? RecordState::kMissing : RecordState::kOk);
    return true;
  }));
  EXPECT_THAT(indices, ElementsAre(0, 1, 2, 3, 4, 5));
  for (const size_t i : {0, 1, 2, 4, 5}) EXPECT_EQ(blocks[i], MakeSyntheticBlock(description, keys[i])) << i;
  EXPECT_EQ(blocks[3], "");
}

TEST_P(FeatureStoreConformance, ABlockOutlivesTheStore) {
  const SetDescription description = MakeSyntheticDescription();
  OpenedSet set = Filled(description, 2, 1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, ReadOne(*set.store, Key(1)));
  set = OpenedSet();
  EXPECT_EQ(Text(block.bytes), MakeSyntheticBlock(description, Key(1)));
}

TEST_P(FeatureStoreConformance, ReadingNoKeysIsFine) {
  const OpenedSet set = CreateAndOpen(MakeSyntheticDescription());
  AFTERIMAGE_EXPECT_OK(set.store->Read({}, {}, {}, [](size_t, RecordResult) {
    ADD_FAILURE() << "a result without a key";
    return true;
  }));
}

TEST_P(FeatureStoreConformance, MissingAndFailedAreStates) {
  const OpenedSet set =
      Filled(MakeSyntheticDescription(), 4, 1, [](const RecordKey& key) { return key == Key(2); });
  EXPECT_THAT(
      StatesOf(*set.store, {Key(1), Key(2), Key(2, 1), Key(9)}),
      ElementsAre(RecordState::kOk, RecordState::kFailed, RecordState::kMissing, RecordState::kMissing));
  EXPECT_THAT(ReadOne(*set.store, Key(2)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(kSyntheticFailureReason), HasSubstr(Key(2).ToString()))));
  EXPECT_THAT(ReadOne(*set.store, Key(9)),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(Key(9).ToString())));
  // A failure is one whatever part is asked for.
  EXPECT_THAT(ReadOne(*set.store, Key(2), {.levels = {3}, .pixels = false}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(kSyntheticFailureReason)));
}

TEST_P(FeatureStoreConformance, SelectsLevels) {
  const SetDescription description = MakeSyntheticDescription({.levels = {1, 2, 4}});
  const OpenedSet set = Filled(description, 3, 1);
  const FeatureRecord whole = MakeSyntheticRecord(description, Key(1));
  const FeatureRecord part = ReadDecoded(*set.store, Key(1), {.levels = {1, 4}, .pixels = false});
  ASSERT_EQ(part.levels.size(), 2u);
  EXPECT_EQ(part.levels[0].level, 1u);
  EXPECT_EQ(part.levels[1].level, 4u);
  EXPECT_EQ(part.tokens, whole.tokens);
  EXPECT_TRUE(part.pixels.empty());
  EXPECT_EQ(part.view_digest, whole.view_digest);
  EXPECT_EQ(part.geometry, whole.geometry);
  ExpectRowsOf(part, whole);
}

TEST_P(FeatureStoreConformance, SelectsImportanceAndPixelsOnly) {
  const SetDescription description = MakeSyntheticDescription();
  const OpenedSet set = Filled(description, 2, 1);
  const FeatureRecord whole = MakeSyntheticRecord(description, Key(0));
  const FeatureRecord part = ReadDecoded(*set.store, Key(0), {.no_levels = true});
  EXPECT_TRUE(part.levels.empty());
  EXPECT_EQ(part.importance, whole.importance);
  EXPECT_EQ(part.pixels, whole.pixels);
}

TEST_P(FeatureStoreConformance, APartCarriesTheDigestOfTheWhole) {
  const SetDescription description = MakeSyntheticDescription();
  const OpenedSet set = Filled(description, 1, 1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes whole, ReadOne(*set.store, Key(0)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes part, ReadOne(*set.store, Key(0), {.levels = {4}}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock whole_block, FeatureBlock::Parse(whole.bytes));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock part_block, FeatureBlock::Parse(part.bytes));
  EXPECT_FALSE(whole_block.is_part());
  EXPECT_TRUE(part_block.is_part());
  EXPECT_LT(part.bytes.size(), whole.bytes.size());
  EXPECT_EQ(part_block.record_digest(), whole_block.record_digest());
}

TEST_P(FeatureStoreConformance, DrawsTheMaskOfARecordOfAllTokens) {
  const SetDescription description = MakeSyntheticDescription();
  const OpenedSet set = Filled(description, 3, 2);
  const RecordKey key = Key(2, 1);
  const FeatureRecord whole = MakeSyntheticRecord(description, key);
  const MaskChoice choice = {.spec = {.num_visible = 6, .mask_seed = 17}, .mask_index = 3};
  const FeatureRecord part = ReadDecoded(*set.store, key, {.tokens = Selection::Tokens::kMask}, choice);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const std::vector<uint16_t> mask,
      DrawMask(choice.spec, key.image, key.view_seed, choice.mask_index, whole.importance));
  std::vector<uint16_t> tokens = {0};
  for (const uint16_t patch : mask) tokens.push_back(static_cast<uint16_t>(patch + 1));
  EXPECT_EQ(part.tokens, tokens);
  EXPECT_THAT(part.masks, ElementsAre(mask));
  EXPECT_EQ(part.levels.size(), whole.levels.size());
  ExpectRowsOf(part, whole);
}

TEST_P(FeatureStoreConformance, SelectsOneMaskOfAVisibleRecord) {
  const SetDescription description = MakeSyntheticDescription(
      {.token_policy = TokenPolicy::kVisible, .mask = {.num_visible = 4, .num_masks = 3}});
  const OpenedSet set = Filled(description, 3, 1);
  const FeatureRecord whole = MakeSyntheticRecord(description, Key(1));
  ASSERT_EQ(whole.masks.size(), 3u);
  for (uint32_t index = 0; index < 3; ++index) {
    const FeatureRecord part = ReadDecoded(
        *set.store, Key(1), {.levels = {4}, .tokens = Selection::Tokens::kMask}, {.mask_index = index});
    EXPECT_THAT(part.masks, ElementsAre(whole.masks[index]));
    EXPECT_EQ(part.tokens.size(), 5u);
    ExpectRowsOf(part, whole);
  }
}

TEST_P(FeatureStoreConformance, TranscodesWhatTravels) {
  for (const Codec codec : kAllCodecs) {
    const SetDescription description = MakeSyntheticDescription({.codec = codec});
    const OpenedSet set = Filled(description, 2, 1);
    const FeatureRecord whole = MakeSyntheticRecord(description, Key(1));
    std::vector<std::pair<Selection::Encoding, Codec>> encodings = {{Selection::Encoding::kF32, Codec::kF32}};
    // Only where nothing is rounded.
    if (!NeedsProfile(codec)) encodings.emplace_back(Selection::Encoding::kF16, Codec::kF16);
    if (RowCodec(codec) == Codec::kBf16) encodings.emplace_back(Selection::Encoding::kBf16, Codec::kBf16);
    for (const auto& [encoding, travels_as] : encodings) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes bytes,
                                      ReadOne(*set.store, Key(1), {.encoding = encoding}));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(bytes.bytes));
      EXPECT_EQ(block.codec(), travels_as);
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
      ExpectRowsOf(record, whole);
    }
  }
}

// Whoever serves it: what SelectFromBlock makes of the stored block.
TEST_P(FeatureStoreConformance, TranscodesWithTheProfileOfTheSet) {
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kLossless16, Codec::kEzq16, Codec::kI8x}) {
    const SetDescription description = MakeSyntheticDescription({.codec = codec, .wire_profile = true});
    const OpenedSet set = Filled(description, 2, 1);
    ASSERT_NE(set.store->profile(), nullptr);
    const PinnedBytes stored = PinnedBytes::FromString(MakeSyntheticBlock(description, Key(1)));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock whole,
                                    FeatureBlock::Parse(stored.bytes, set.store->profile()));
    for (const Selection::Encoding encoding : {Selection::Encoding::kI8x, Selection::Encoding::kI4x}) {
      const Selection selection = {.levels = {4}, .tokens = Selection::Tokens::kMask, .encoding = encoding};
      const MaskChoice mask = {.spec = {.num_visible = 3}, .mask_index = 1};
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes bytes, ReadOne(*set.store, Key(1), selection, mask));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock part,
                                      FeatureBlock::Parse(bytes.bytes, set.store->profile()));
      EXPECT_EQ(part.codec(), CodecOf(encoding));
      const std::vector<uint16_t> patches =
          DrawMask(mask.spec, Key(1).image, 0, 1, whole.Importance().value()).value();
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes expected, SelectFromBlock(whole, stored, selection, patches));
      EXPECT_EQ(Text(bytes.bytes), Text(expected.bytes));
    }
  }
}

TEST_P(FeatureStoreConformance, SetsWithAProfileAreReadWithIt) {
  for (const TokenPolicy policy : {TokenPolicy::kAll, TokenPolicy::kVisible}) {
    const SetDescription description = MakeSyntheticDescription(
        {.token_policy = policy, .mask = {.num_visible = 5, .num_masks = 2}, .codec = Codec::kI8x});
    const OpenedSet set = Filled(description, 3, 1);
    ASSERT_NE(set.store->profile(), nullptr);
    EXPECT_EQ(set.store->profile()->digest(), description.set.profile_digest);
    const FeatureRecord whole = MakeSyntheticRecord(description, Key(1));
    ExpectRowsOf(ReadDecoded(*set.store, Key(1), {}), whole);
    for (const Selection::Encoding encoding : {Selection::Encoding::kStored, Selection::Encoding::kF32}) {
      const FeatureRecord part = ReadDecoded(
          *set.store, Key(1), {.levels = {4}, .tokens = Selection::Tokens::kMask, .encoding = encoding},
          {.spec = {.num_visible = 3}, .mask_index = 1});
      EXPECT_EQ(part.tokens.size(), policy == TokenPolicy::kAll ? 4u : 6u);
      ExpectRowsOf(part, whole);
    }
    const FeatureRecord half = ReadDecoded(*set.store, Key(1), {.encoding = Selection::Encoding::kF16});
    for (size_t i = 0; i < half.levels[0].values.size(); ++i) {
      ASSERT_NEAR(half.levels[0].values[i], whole.levels[0].values[i], 4.0f / 2048) << i;
    }
  }
}

TEST_P(FeatureStoreConformance, PackedPixelsAreReadAsTheyWere) {
  for (const TokenPolicy policy : {TokenPolicy::kAll, TokenPolicy::kVisible}) {
    const SetDescription description = MakeSyntheticDescription({.view_size = 64,
                                                                 .token_policy = policy,
                                                                 .mask = {.num_visible = 6, .num_masks = 2},
                                                                 .pixel_coding = PixelCoding::kPacked});
    const OpenedSet set = Filled(description, 3, 1);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes bytes, ReadOne(*set.store, Key(1)));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(bytes.bytes));
    EXPECT_TRUE(block.has_packed_pixels());
    const FeatureRecord whole = MakeSyntheticRecord(description, Key(1));
    ExpectRowsOf(ReadDecoded(*set.store, Key(1), {}), whole);
    for (const Selection& selection :
         {Selection{.levels = {4}, .tokens = Selection::Tokens::kMask}, Selection{.levels = {3}}}) {
      const FeatureRecord part =
          ReadDecoded(*set.store, Key(1), selection, {.spec = {.num_visible = 6}, .mask_index = 1});
      EXPECT_EQ(part.pixels.size(), (part.tokens.size() - 1) * 768);
      ExpectRowsOf(part, whole);
    }
  }
}

TEST_P(FeatureStoreConformance, RefusesWhatTheSetDoesNotHave) {
  const SetDescription description = MakeSyntheticDescription({.levels = {2, 4}, .pixels = false});
  const OpenedSet set = Filled(description, 1, 1);
  EXPECT_THAT(ReadOne(*set.store, Key(0), {.levels = {3}, .pixels = false}),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("level 3"), HasSubstr("2, 4"))));
  EXPECT_THAT(ReadOne(*set.store, Key(0), {.levels = {4, 2}, .pixels = false}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not ascending")));
  EXPECT_THAT(ReadOne(*set.store, Key(0), {.levels = {4}, .pixels = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without pixels")));
  EXPECT_THAT(ReadOne(*set.store, Key(0), {.tokens = Selection::Tokens::kMask, .pixels = false},
                      {.spec = {.num_visible = 17}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("17 visible patches")));
  AFTERIMAGE_EXPECT_OK(ReadOne(*set.store, Key(0)));
  EXPECT_THAT(ReadOne(*set.store, Key(0), {.pixels = false, .encoding = Selection::Encoding::kI8x}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("names no profile"), HasSubstr("recode"))));
}

TEST_P(FeatureStoreConformance, RefusesAMaskThatIsNotStored) {
  const OpenedSet set = Filled(MakeSyntheticDescription({.token_policy = TokenPolicy::kVisible,
                                                         .mask = {.num_visible = 4, .num_masks = 2}}),
                               1, 1);
  EXPECT_THAT(ReadOne(*set.store, Key(0), {.tokens = Selection::Tokens::kMask}, {.mask_index = 2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mask 2")));
}

TEST_P(FeatureStoreConformance, TheSinkMayEndARead) {
  const OpenedSet set = Filled(MakeSyntheticDescription(), 8, 1);
  std::vector<RecordKey> keys;
  for (uint64_t i = 0; i < 8; ++i) keys.push_back(Key(i));
  size_t seen = 0;
  EXPECT_THAT(set.store->Read(keys, {}, {}, [&](size_t, RecordResult) { return ++seen < 3; }),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(seen, 3u);
}

TEST_P(FeatureStoreConformance, ADamagedRecordIsAStateAndTheOthersAreServed) {
  const SetDescription description = MakeSyntheticDescription();
  OpenedSet set = Filled(description, 6, 1);
  set = OpenedSet();
  if (!cache_->Damage(description.set.Id(), Key(3)))
    GTEST_SKIP() << "no way to damage a record of this cache";
  set = Open(description);
  EXPECT_THAT(StatesOf(*set.store, {Key(2), Key(3), Key(4)}),
              ElementsAre(RecordState::kOk, RecordState::kDamaged, RecordState::kOk));
  EXPECT_THAT(ReadOne(*set.store, Key(3)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(Key(3).image.Hex())));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, ReadOne(*set.store, Key(4)));
  EXPECT_EQ(Text(block.bytes), MakeSyntheticBlock(description, Key(4)));
}

TEST_P(FeatureStoreConformance, ManyThreadsReadAtOnce) {
  const SetDescription description = MakeSyntheticDescription();
  const OpenedSet set = Filled(description, 12, 1);
  std::atomic<int> equal = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 24; ++i) {
        const RecordKey key = Key((i + t * 5) % 12);
        const absl::StatusOr<PinnedBytes> block = ReadOne(*set.store, key);
        if (block.ok() && Text(block->bytes) == MakeSyntheticBlock(description, key)) ++equal;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 4 * 24);
}

TEST_P(FeatureStoreConformance, AReaderSeesWhatIsPublishedLaterAfterRefresh) {
  const SetDescription description = MakeSyntheticDescription();
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(3));
  AFTERIMAGE_ASSERT_OK(catalog().CreateSet(description));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet reader,
                                  catalog().OpenSet(description.set.Id(), OpenMode::kRead));
  EXPECT_THAT(StatesOf(*reader.store, {Key(0)}), ElementsAre(RecordState::kMissing));
  AFTERIMAGE_ASSERT_OK(FillSet(Open(description), manifest, 1));
  AFTERIMAGE_ASSERT_OK(reader.store->Refresh());
  EXPECT_THAT(StatesOf(*reader.store, {Key(0), Key(1), Key(2)}), Each(RecordState::kOk));
}

TEST_P(FeatureStoreConformance, ReopenKeepsTheRecords) {
  const SetDescription description = MakeSyntheticDescription();
  OpenedSet set = Filled(description, 5, 2, [](const RecordKey& key) { return key == Key(4, 1); });
  set = OpenedSet();
  if (!cache_->Reopen()) GTEST_SKIP() << "this cache does not outlive its process";
  set = Open(description);
  EXPECT_THAT(StatesOf(*set.store, {Key(4, 1), Key(5)}),
              ElementsAre(RecordState::kFailed, RecordState::kMissing));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, ReadOne(*set.store, Key(4)));
  EXPECT_EQ(Text(block.bytes), MakeSyntheticBlock(description, Key(4)));
}

}  // namespace afterimage::testing
