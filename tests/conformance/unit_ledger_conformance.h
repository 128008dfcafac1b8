// What every UnitLedger and UnitPublisher do.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/feature/feature_block.h"
#include "gmock/gmock.h"
#include "tests/conformance/cache_under_test.h"

namespace afterimage::testing {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class UnitLedgerConformance : public CacheConformance {
 protected:
  static RecordKey Key(uint64_t image, uint32_t view_seed = 0) {
    return {SyntheticImageKey(image), view_seed};
  }

  // What a claim of everything wants, in order.
  static std::vector<RecordKey> WantedOf(const ClaimResult& result) {
    std::vector<RecordKey> wanted;
    for (const ClaimedUnit& unit : result.units)
      wanted.insert(wanted.end(), unit.wanted.begin(), unit.wanted.end());
    return wanted;
  }
  static std::vector<RecordKey> Sorted(std::vector<RecordKey> keys) {
    std::sort(keys.begin(), keys.end());
    return keys;
  }
  static std::vector<RecordKey> KeysOf(const Manifest& manifest, uint32_t seed_begin, uint32_t seed_end) {
    std::vector<RecordKey> keys;
    for (const ImageKey& image : manifest.keys()) {
      for (uint32_t seed = seed_begin; seed < seed_end; ++seed) keys.push_back({image, seed});
    }
    return keys;
  }
  // The first unit claimed in a fresh set of one shard: all keys of the manifest.
  ClaimedUnit ClaimOne(const OpenedSet& set, ClaimRequest request) {
    const absl::StatusOr<ClaimResult> result = set.ledger->Claim(request);
    EXPECT_THAT(result, IsOk());
    if (!result.ok()) return ClaimedUnit();
    EXPECT_THAT(result->units, SizeIs(1));
    return result->units.empty() ? ClaimedUnit() : result->units.front();
  }
  static SetDescription OneShard() {
    return MakeSyntheticDescription({.layout = {.num_shards = 1, .seeds_per_unit = 2}});
  }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(UnitLedgerConformance);

TEST_P(UnitLedgerConformance, AClaimOfEverythingWantsEveryKeyOnce) {
  const Manifest manifest = MakeSyntheticManifest(40);
  PutManifest(manifest);
  const OpenedSet set = CreateAndOpen(MakeSyntheticDescription());  // 4 shards, 2 seeds per unit
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result,
                                  set.ledger->Claim(RequestOf(manifest.digest(), 4, "w", 100)));
  EXPECT_THAT(result.units, SizeIs(8));
  EXPECT_FALSE(result.all_complete);
  EXPECT_EQ(result.leased_by_others, 0u);
  std::set<UnitId> units;
  for (const ClaimedUnit& claimed : result.units) {
    units.insert(claimed.lease.unit);
    EXPECT_EQ(claimed.lease.unit.manifest, manifest.digest());
    EXPECT_EQ(claimed.lease.unit.seed_end - claimed.lease.unit.seed_begin, 2u);
    EXPECT_EQ(claimed.lease.worker, "w");
    EXPECT_FALSE(claimed.lease.token.empty());
    EXPECT_TRUE(std::is_sorted(claimed.wanted.begin(), claimed.wanted.end()));
    for (const RecordKey& key : claimed.wanted) {
      EXPECT_EQ(ShardOfKey(key.image, 4), claimed.lease.unit.shard);
      EXPECT_GE(key.view_seed, claimed.lease.unit.seed_begin);
      EXPECT_LT(key.view_seed, claimed.lease.unit.seed_end);
    }
  }
  EXPECT_THAT(units, SizeIs(8));
  EXPECT_EQ(Sorted(WantedOf(result)), KeysOf(manifest, 0, 4));
}

TEST_P(UnitLedgerConformance, TwoWorkersShareTheUnits) {
  const Manifest manifest = MakeSyntheticManifest(40);
  PutManifest(manifest);
  const OpenedSet set = CreateAndOpen(MakeSyntheticDescription());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult first,
                                  set.ledger->Claim(RequestOf(manifest.digest(), 2, "one", 3)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult second,
                                  set.ledger->Claim(RequestOf(manifest.digest(), 2, "two", 3)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult third,
                                  set.ledger->Claim(RequestOf(manifest.digest(), 2, "three", 3)));
  EXPECT_THAT(first.units, SizeIs(3));
  EXPECT_THAT(second.units, SizeIs(1));
  EXPECT_EQ(second.leased_by_others, 3u);
  EXPECT_THAT(third.units, IsEmpty());
  EXPECT_EQ(third.leased_by_others, 4u);
  EXPECT_FALSE(third.all_complete);
  std::vector<RecordKey> both = WantedOf(first);
  const std::vector<RecordKey> more = WantedOf(second);
  both.insert(both.end(), more.begin(), more.end());
  EXPECT_EQ(Sorted(both), KeysOf(manifest, 0, 2));
}

TEST_P(UnitLedgerConformance, AllIsCompleteWhenAllIsPublished) {
  const Manifest manifest = MakeSyntheticManifest(20);
  PutManifest(manifest);
  const OpenedSet set = CreateAndOpen(MakeSyntheticDescription());
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 3));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result,
                                  set.ledger->Claim(RequestOf(manifest.digest(), 3, "w", 9)));
  EXPECT_TRUE(result.all_complete);
  EXPECT_THAT(result.units, IsEmpty());
  EXPECT_THAT(StatesOf(*set.store, KeysOf(manifest, 0, 3)), Each(RecordState::kOk));
}

TEST_P(UnitLedgerConformance, AReleasedUnitIsClaimedAgain) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(3));
  const OpenedSet set = CreateAndOpen(OneShard());
  const ClaimedUnit unit = ClaimOne(set, RequestOf(manifest, 1, "one"));
  AFTERIMAGE_ASSERT_OK(set.ledger->Release(unit.lease));
  AFTERIMAGE_ASSERT_OK(set.ledger->Release(unit.lease));
  const ClaimedUnit again = ClaimOne(set, RequestOf(manifest, 1, "two"));
  EXPECT_EQ(again.lease.unit, unit.lease.unit);
  EXPECT_EQ(again.wanted, unit.wanted);
  AFTERIMAGE_ASSERT_OK(set.ledger->Release(unit.lease));  // of another's lease: nothing happens
  AFTERIMAGE_EXPECT_OK(set.ledger->Renew(again.lease, absl::Seconds(60)));
}

TEST_P(UnitLedgerConformance, AnExpiredLeaseGoesToAnother) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(3));
  const OpenedSet set = CreateAndOpen(OneShard());
  ClaimRequest request = RequestOf(manifest, 1, "one");
  request.lease_duration = absl::Seconds(2);
  const ClaimedUnit lost = ClaimOne(set, request);
  if (!cache_->AdvanceClock(absl::Milliseconds(2500))) GTEST_SKIP() << "time cannot pass in this cache";
  const ClaimedUnit taken = ClaimOne(set, RequestOf(manifest, 1, "two"));
  EXPECT_EQ(taken.lease.unit, lost.lease.unit);
  EXPECT_THAT(set.ledger->Renew(lost.lease, absl::Seconds(60)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(lost.lease.unit.ToString())));
  EXPECT_THAT(set.publisher->Open(lost.lease),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(lost.lease.unit.ToString())));
  AFTERIMAGE_EXPECT_OK(PublishClaimed(set, taken));
}

TEST_P(UnitLedgerConformance, ARenewedLeaseStays) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(3));
  const OpenedSet set = CreateAndOpen(OneShard());
  ClaimRequest request = RequestOf(manifest, 1, "one");
  request.lease_duration = absl::Seconds(2);
  const ClaimedUnit unit = ClaimOne(set, request);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const absl::Time expires, set.ledger->Renew(unit.lease, absl::Minutes(5)));
  EXPECT_GT(expires, unit.lease.expires);
  if (!cache_->AdvanceClock(absl::Milliseconds(2500))) GTEST_SKIP() << "time cannot pass in this cache";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result, set.ledger->Claim(RequestOf(manifest, 1, "two")));
  EXPECT_THAT(result.units, IsEmpty());
  EXPECT_EQ(result.leased_by_others, 1u);
}

TEST_P(UnitLedgerConformance, ALeaseOfAFinishedUnitCannotBeRenewed) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(3));
  const OpenedSet set = CreateAndOpen(OneShard());
  const ClaimedUnit unit = ClaimOne(set, RequestOf(manifest, 1, "one"));
  AFTERIMAGE_ASSERT_OK(PublishClaimed(set, unit));
  EXPECT_THAT(set.ledger->Renew(unit.lease, absl::Seconds(60)),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_P(UnitLedgerConformance, MoreViewSeedsWantOnlyTheNewOnes) {
  const Manifest manifest = MakeSyntheticManifest(10);
  PutManifest(manifest);
  const OpenedSet set = CreateAndOpen(MakeSyntheticDescription());
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 1));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result,
                                  set.ledger->Claim(RequestOf(manifest.digest(), 3, "w", 100)));
  EXPECT_EQ(Sorted(WantedOf(result)), KeysOf(manifest, 1, 3));
  for (const ClaimedUnit& unit : result.units) AFTERIMAGE_ASSERT_OK(PublishClaimed(set, unit));
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  EXPECT_THAT(StatesOf(*set.store, KeysOf(manifest, 0, 3)), Each(RecordState::kOk));
}

TEST_P(UnitLedgerConformance, AGrownManifestWantsOnlyTheNewKeys) {
  const Manifest manifest = MakeSyntheticManifest(10);
  const Manifest grown = MakeSyntheticManifest(14);
  PutManifest(manifest);
  PutManifest(grown);
  const OpenedSet set = CreateAndOpen(MakeSyntheticDescription());
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 2));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result,
                                  set.ledger->Claim(RequestOf(grown.digest(), 2, "w", 100)));
  EXPECT_EQ(Sorted(WantedOf(result)), KeysOf(MakeSyntheticManifest(4, 10), 0, 2));
  for (const ClaimedUnit& unit : result.units) AFTERIMAGE_ASSERT_OK(PublishClaimed(set, unit));
  AFTERIMAGE_ASSERT_OK(FillSet(set, grown.digest(), 2));
  EXPECT_THAT(StatesOf(*set.store, KeysOf(grown, 0, 2)), Each(RecordState::kOk));
}

TEST_P(UnitLedgerConformance, SeedMajorFinishesOneSeedRangeFirst) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(30));
  const OpenedSet set = CreateAndOpen(MakeSyntheticDescription());
  ClaimRequest request = RequestOf(manifest, 4, "w", 4);
  request.seed_major = true;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result, set.ledger->Claim(request));
  EXPECT_THAT(result.units, SizeIs(4));
  for (const ClaimedUnit& unit : result.units) EXPECT_EQ(unit.lease.unit.seed_begin, 0u);
}

TEST_P(UnitLedgerConformance, ProgressCountsUnitsAndRecords) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(5));
  const OpenedSet set = CreateAndOpen(OneShard());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LedgerProgress before, set.ledger->Progress(manifest, 4));
  EXPECT_EQ(before.units_total, 2u);
  EXPECT_EQ(before.units_complete, 0u);
  EXPECT_EQ(before.units_leased, 0u);
  EXPECT_EQ(before.records_total, 20u);
  EXPECT_EQ(before.records_present, 0u);
  EXPECT_THAT(before.seed_complete, ElementsAre(false, false, false, false));

  const ClaimedUnit unit = ClaimOne(set, RequestOf(manifest, 4, "w"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LedgerProgress during, set.ledger->Progress(manifest, 4));
  EXPECT_EQ(during.units_leased, 1u);

  AFTERIMAGE_ASSERT_OK(
      PublishClaimed(set, unit, [](const RecordKey& key) { return key.image == SyntheticImageKey(1); }));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LedgerProgress after, set.ledger->Progress(manifest, 4));
  EXPECT_EQ(after.units_complete, 1u);
  EXPECT_EQ(after.units_leased, 0u);
  EXPECT_EQ(after.records_present, 10u);
  EXPECT_EQ(after.records_failed, 2u);
  EXPECT_THAT(after.seed_complete, ElementsAre(true, true, false, false));
  EXPECT_THAT(set.ledger->Progress(MakeSyntheticManifest(9).digest(), 1),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(UnitLedgerConformance, ClaimRefusesWhatMakesNoSense) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(2));
  const OpenedSet set = CreateAndOpen(OneShard());
  EXPECT_THAT(set.ledger->Claim(RequestOf(manifest, 0, "w")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 view seeds")));
  EXPECT_THAT(set.ledger->Claim(RequestOf(manifest, 1, "w", 0)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_units")));
  EXPECT_THAT(set.ledger->Claim(RequestOf(manifest, 1, "")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("worker")));
  ClaimRequest too_long = RequestOf(manifest, 1, "w");
  too_long.lease_duration = kMaxLeaseDuration + absl::Seconds(1);
  EXPECT_THAT(set.ledger->Claim(too_long),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most")));
  EXPECT_THAT(set.ledger->Claim(RequestOf(MakeSyntheticManifest(9).digest(), 1, "w")),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(UnitLedgerConformance, AUnitAppearsWholeOrNotAtAll) {
  const Manifest manifest = MakeSyntheticManifest(4);
  PutManifest(manifest);
  const SetDescription description = OneShard();
  const OpenedSet set = CreateAndOpen(description);
  const ClaimedUnit unit = ClaimOne(set, RequestOf(manifest.digest(), 1, "w"));
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto abandoned, set.publisher->Open(unit.lease));
    for (const RecordKey& key : unit.wanted) {
      AFTERIMAGE_ASSERT_OK(abandoned->Add(key, AsBytes(MakeSyntheticBlock(description, key))));
    }
  }
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  EXPECT_THAT(StatesOf(*set.store, unit.wanted), Each(RecordState::kMissing));

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PublishReport report, PublishClaimed(set, unit));
  EXPECT_EQ(report.records_written, 4u);
  EXPECT_GT(report.bytes_written, 4u * 17 * 24 * 2);
  EXPECT_EQ(report.duplicates_equal, 0u);
  EXPECT_EQ(report.duplicates_different, 0u);
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  EXPECT_THAT(StatesOf(*set.store, unit.wanted), Each(RecordState::kOk));
}

TEST_P(UnitLedgerConformance, PublishRefusesAUnitWithAHole) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(4));
  const SetDescription description = OneShard();
  const OpenedSet set = CreateAndOpen(description);
  const ClaimedUnit unit = ClaimOne(set, RequestOf(manifest, 1, "w"));
  ASSERT_THAT(unit.wanted, SizeIs(4));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto writer, set.publisher->Open(unit.lease));
  for (const RecordKey& key : unit.wanted) {
    if (key == unit.wanted[2]) continue;
    AFTERIMAGE_ASSERT_OK(writer->Add(key, AsBytes(MakeSyntheticBlock(description, key))));
  }
  EXPECT_THAT(writer->Publish(MakeSyntheticMetadata("w")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(unit.wanted[2].image.Hex())));
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  EXPECT_THAT(StatesOf(*set.store, unit.wanted), Each(RecordState::kMissing));
}

TEST_P(UnitLedgerConformance, BlocksMayComeInAnyOrder) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(6));
  const SetDescription description = OneShard();
  const OpenedSet set = CreateAndOpen(description);
  const ClaimedUnit unit = ClaimOne(set, RequestOf(manifest, 2, "w"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto writer, set.publisher->Open(unit.lease));
  for (auto key = unit.wanted.rbegin(); key != unit.wanted.rend(); ++key) {
    AFTERIMAGE_ASSERT_OK(writer->Add(*key, AsBytes(MakeSyntheticBlock(description, *key))));
  }
  AFTERIMAGE_ASSERT_OK(writer->Publish(MakeSyntheticMetadata("w")));
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  for (const RecordKey& key : unit.wanted) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, ReadOne(*set.store, key));
    EXPECT_EQ(std::string(block.bytes.begin(), block.bytes.end()), MakeSyntheticBlock(description, key));
  }
}

TEST_P(UnitLedgerConformance, AddRefusesWhatDoesNotBelong) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(30));
  const SetDescription description = MakeSyntheticDescription();
  const OpenedSet set = CreateAndOpen(description);
  const ClaimedUnit unit = ClaimOne(set, RequestOf(manifest, 2, "w"));
  ASSERT_FALSE(unit.wanted.empty());
  const RecordKey key = unit.wanted.front();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto writer, set.publisher->Open(unit.lease));
  const std::string block = MakeSyntheticBlock(description, key);
  const auto refused = [&](const std::string& part) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(part));
  };

  EXPECT_THAT(writer->Add({key.image, 2}, AsBytes(block)), refused("view seed"));
  RecordKey other_shard = key;
  other_shard.image.bytes[0] ^= 0x80;
  EXPECT_THAT(writer->Add(other_shard, AsBytes(block)), refused("shard"));
  EXPECT_THAT(writer->Add(key, AsBytes(std::string("not a block"))), refused("bytes"));
  std::string damaged = block;
  damaged.back() ^= 1;
  EXPECT_THAT(writer->Add(key, AsBytes(damaged)), refused("checksum"));
  const std::string f32 = MakeSyntheticBlock(MakeSyntheticDescription({.codec = Codec::kF32}), key);
  EXPECT_THAT(writer->Add(key, AsBytes(f32)), refused("codec f32"));
  const std::string levels = MakeSyntheticBlock(MakeSyntheticDescription({.levels = {4}}), key);
  EXPECT_THAT(writer->Add(key, AsBytes(levels)), refused("levels 4"));
  const std::string visible =
      MakeSyntheticBlock(MakeSyntheticDescription({.token_policy = TokenPolicy::kVisible}), key);
  EXPECT_THAT(writer->Add(key, AsBytes(visible)), refused("tokens 6"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock parsed, FeatureBlock::Parse(AsBytes(block)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const PinnedBytes part,
      SelectFromBlock(parsed, {AsBytes(block), nullptr}, {.levels = {3, 4}, .pixels = false}, {}));
  EXPECT_THAT(writer->Add(key, part.bytes), refused("part"));
  AFTERIMAGE_EXPECT_OK(writer->Add(key, AsBytes(block)));
}

TEST_P(UnitLedgerConformance, AUnitThatWasComputedTwiceIsStoredOnce) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(4));
  const SetDescription description = OneShard();
  const OpenedSet set = CreateAndOpen(description);
  ClaimRequest request = RequestOf(manifest, 1, "slow");
  request.lease_duration = absl::Seconds(2);
  const ClaimedUnit slow = ClaimOne(set, request);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto writer, set.publisher->Open(slow.lease));
  // One of the slow worker's records differs: its teacher is not deterministic.
  for (const RecordKey& key : slow.wanted) {
    const uint64_t salt = key == slow.wanted.back() ? 1 : 0;
    AFTERIMAGE_ASSERT_OK(writer->Add(key, AsBytes(MakeSyntheticBlock(description, key, salt))));
  }
  if (!cache_->AdvanceClock(absl::Milliseconds(2500))) GTEST_SKIP() << "time cannot pass in this cache";
  AFTERIMAGE_ASSERT_OK(PublishClaimed(set, ClaimOne(set, RequestOf(manifest, 1, "quick"))));

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PublishReport report, writer->Publish(MakeSyntheticMetadata("slow")));
  EXPECT_EQ(report.records_written, 0u);
  EXPECT_EQ(report.duplicates_equal, 3u);
  EXPECT_EQ(report.duplicates_different, 1u);
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes kept, ReadOne(*set.store, slow.wanted.back()));
  EXPECT_EQ(std::string(kept.bytes.begin(), kept.bytes.end()),
            MakeSyntheticBlock(description, slow.wanted.back()));
}

TEST_P(UnitLedgerConformance, ADamagedRecordIsWantedAgainAndRepaired) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(5));
  const SetDescription description = OneShard();
  OpenedSet set = CreateAndOpen(description);
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest, 1));
  set = OpenedSet();
  if (!cache_->Damage(description.set.Id(), Key(2)))
    GTEST_SKIP() << "no way to damage a record of this cache";
  set = Open(description);
  EXPECT_THAT(StatesOf(*set.store, {Key(2)}), ElementsAre(RecordState::kDamaged));  // a read has found it
  const ClaimedUnit repair = ClaimOne(set, RequestOf(manifest, 1, "w"));
  EXPECT_THAT(repair.wanted, ElementsAre(Key(2)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PublishReport report, PublishClaimed(set, repair));
  EXPECT_EQ(report.records_written, 1u);
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, ReadOne(*set.store, Key(2)));
  EXPECT_EQ(std::string(block.bytes.begin(), block.bytes.end()), MakeSyntheticBlock(description, Key(2)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result, set.ledger->Claim(RequestOf(manifest, 1, "w")));
  EXPECT_TRUE(result.all_complete);
}

TEST_P(UnitLedgerConformance, AFullDiskKeepsWhatWasPublished) {
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(4));
  const SetDescription description = OneShard();
  const OpenedSet set = CreateAndOpen(description);
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest, 2));
  if (!cache_->LimitBytes(1)) GTEST_SKIP() << "this cache has no limit to set";
  const ClaimedUnit unit = ClaimOne(set, RequestOf(manifest, 4, "w"));
  EXPECT_THAT(PublishClaimed(set, unit), StatusIs(absl::StatusCode::kResourceExhausted));
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  EXPECT_THAT(StatesOf(*set.store, {Key(0, 0), Key(3, 1), Key(0, 2)}),
              ElementsAre(RecordState::kOk, RecordState::kOk, RecordState::kMissing));
  ASSERT_TRUE(cache_->LimitBytes(uint64_t{1} << 40));
  AFTERIMAGE_EXPECT_OK(PublishClaimed(set, unit));
}

TEST_P(UnitLedgerConformance, ReopenGoesOnWhereItStopped) {
  const Manifest manifest = MakeSyntheticManifest(20);
  PutManifest(manifest);
  const SetDescription description = MakeSyntheticDescription();
  OpenedSet set = CreateAndOpen(description);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult first,
                                  set.ledger->Claim(RequestOf(manifest.digest(), 2, "w", 3)));
  ASSERT_THAT(first.units, SizeIs(3));
  for (const ClaimedUnit& unit : first.units) AFTERIMAGE_ASSERT_OK(PublishClaimed(set, unit));
  set = OpenedSet();
  if (!cache_->Reopen()) GTEST_SKIP() << "this cache does not outlive its process";
  set = Open(description);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LedgerProgress progress, set.ledger->Progress(manifest.digest(), 2));
  EXPECT_EQ(progress.units_complete, 3u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult rest,
                                  set.ledger->Claim(RequestOf(manifest.digest(), 2, "w", 100)));
  EXPECT_THAT(rest.units, SizeIs(1));
  for (const ClaimedUnit& unit : rest.units) AFTERIMAGE_ASSERT_OK(PublishClaimed(set, unit));
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  EXPECT_THAT(StatesOf(*set.store, KeysOf(manifest, 0, 2)), Each(RecordState::kOk));
}

}  // namespace afterimage::testing
