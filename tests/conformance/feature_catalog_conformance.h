// What every FeatureCatalog does.
#pragma once

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/conformance/cache_under_test.h"

namespace afterimage::testing {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class FeatureCatalogConformance : public CacheConformance {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FeatureCatalogConformance);

TEST_P(FeatureCatalogConformance, AnEmptyCacheListsNothing) {
  EXPECT_THAT(catalog().ListSets(), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(catalog().ListManifests(), IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(catalog().ListNames(), IsOkAndHolds(IsEmpty()));
}

TEST_P(FeatureCatalogConformance, CreateSetKeepsTheFirstLayout) {
  SetDescription description = MakeSyntheticDescription();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription first, catalog().CreateSet(description));
  EXPECT_EQ(first.Serialize(), description.Serialize());

  SetDescription other_layout = description;
  other_layout.layout = {.num_shards = 9, .seeds_per_unit = 7};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription second, catalog().CreateSet(other_layout));
  EXPECT_EQ(second.layout, description.layout);
  EXPECT_THAT(catalog().ListSets(), IsOkAndHolds(SizeIs(1)));
}

TEST_P(FeatureCatalogConformance, CreateSetRefusesADescriptionThatIsNotValid) {
  SetDescription description = MakeSyntheticDescription();
  description.set.levels = {4, 3};
  EXPECT_THAT(catalog().CreateSet(description),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("levels 4,3 are not ascending")));
  EXPECT_THAT(catalog().ListSets(), IsOkAndHolds(IsEmpty()));
}

TEST_P(FeatureCatalogConformance, SeveralSetsLiveSideBySide) {
  const SetDescription all = MakeSyntheticDescription();
  const SetDescription visible =
      MakeSyntheticDescription({.token_policy = TokenPolicy::kVisible, .codec = Codec::kF32});
  CreateAndOpen(all);
  CreateAndOpen(visible);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<SetSummary> sets, catalog().ListSets());
  std::vector<std::string> texts;
  for (const SetSummary& set : sets) {
    EXPECT_EQ(set.id, set.description.set.Id());
    texts.push_back(set.description.Serialize());
  }
  EXPECT_THAT(texts, UnorderedElementsAre(all.Serialize(), visible.Serialize()));
}

TEST_P(FeatureCatalogConformance, ASummaryCountsWhatIsStored) {
  const SetDescription description = MakeSyntheticDescription();
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(10));
  const OpenedSet set = CreateAndOpen(description);
  const ImageKey broken = SyntheticImageKey(3);
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest, 2, [&](const RecordKey& key) { return key.image == broken; }));

  AFTERIMAGE_ASSERT_OK(catalog().SetName("tiny", description.set.Id(), false));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<SetSummary> sets, catalog().ListSets());
  ASSERT_THAT(sets, SizeIs(1));
  const SetSummary& summary = sets.front();
  EXPECT_EQ(summary.id, description.set.Id());
  EXPECT_THAT(summary.aliases, ElementsAre("tiny"));
  EXPECT_THAT(summary.manifests, ElementsAre(manifest));
  EXPECT_EQ(summary.num_view_seeds, 2u);
  EXPECT_EQ(summary.num_records, 18u);
  EXPECT_EQ(summary.num_failed, 2u);
  EXPECT_GT(summary.stored_bytes, 18u * 17 * 24 * 2);  // at least the numbers of one level
  ASSERT_THAT(summary.workers, SizeIs(1));
  EXPECT_EQ(summary.workers[0].device, "cpu: made up");
  EXPECT_EQ(summary.workers[0].micro_batch, 8u);
  EXPECT_EQ(summary.workers[0].num_records, 18u);
  EXPECT_EQ(summary.workers[0].num_failed, 2u);
}

TEST_P(FeatureCatalogConformance, OpenSetOfAnUnknownIdListsWhatThereIs) {
  const SetDescription description = MakeSyntheticDescription();
  CreateAndOpen(description);
  const SetDescription other = MakeSyntheticDescription({.teacher = "other"});
  EXPECT_THAT(catalog().OpenSet(other.set.Id(), OpenMode::kRead),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(description.set.Id().Hex())));
}

TEST_P(FeatureCatalogConformance, OpenForReadingGivesTheStoreOnly) {
  const SetDescription description = MakeSyntheticDescription();
  AFTERIMAGE_ASSERT_OK(catalog().CreateSet(description));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  catalog().OpenSet(description.set.Id(), OpenMode::kRead));
  EXPECT_EQ(set.id, description.set.Id());
  ASSERT_NE(set.store, nullptr);
  EXPECT_EQ(set.store->description().Serialize(), description.Serialize());
  EXPECT_EQ(set.ledger, nullptr);
  EXPECT_EQ(set.publisher, nullptr);
}

TEST_P(FeatureCatalogConformance, FailuresAreListedWithTheirReasons) {
  const SetDescription description = MakeSyntheticDescription();
  const Digest256 manifest = PutManifest(MakeSyntheticManifest(8));
  const OpenedSet set = CreateAndOpen(description);
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest, 1, [](const RecordKey& key) {
    return key.image == SyntheticImageKey(2) || key.image == SyntheticImageKey(5);
  }));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<FailureEntry> failures,
                                  catalog().ListFailures(description.set.Id(), 100));
  std::vector<ImageKey> keys;
  for (const FailureEntry& failure : failures) {
    keys.push_back(failure.key.image);
    EXPECT_EQ(failure.key.view_seed, 0u);
    EXPECT_THAT(failure.reason, HasSubstr(kSyntheticFailureReason));
  }
  EXPECT_THAT(keys, UnorderedElementsAre(SyntheticImageKey(2), SyntheticImageKey(5)));
  EXPECT_THAT(catalog().ListFailures(description.set.Id(), 1), IsOkAndHolds(SizeIs(1)));
}

TEST_P(FeatureCatalogConformance, ManifestsAreFoundByTheirDigest) {
  const Manifest one = MakeSyntheticManifest(5);
  const Manifest repeated =
      Manifest::FromOccurrences({SyntheticImageKey(1), SyntheticImageKey(1), SyntheticImageKey(2)});
  AFTERIMAGE_ASSERT_OK(catalog().PutManifest(one));
  AFTERIMAGE_ASSERT_OK(catalog().PutManifest(repeated));
  AFTERIMAGE_ASSERT_OK(catalog().PutManifest(one));
  EXPECT_THAT(catalog().ListManifests(), IsOkAndHolds(UnorderedElementsAre(one.digest(), repeated.digest())));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto read, catalog().GetManifest(repeated.digest()));
  EXPECT_EQ(read->digest(), repeated.digest());
  EXPECT_EQ(read->keys(), repeated.keys());
  EXPECT_EQ(read->num_occurrences(), 3u);
  EXPECT_THAT(catalog().GetManifest(MakeSyntheticManifest(6).digest()),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(FeatureCatalogConformance, LabelsBelongToAManifestAndTheLastTableCounts) {
  const Manifest manifest = MakeSyntheticManifest(3);
  const LabelTable labels = {.labels = {0, 1, -1}, .class_names = {"cat", "dog"}};
  EXPECT_THAT(catalog().PutLabels(manifest.digest(), labels), StatusIs(absl::StatusCode::kNotFound));
  PutManifest(manifest);
  EXPECT_THAT(catalog().GetLabels(manifest.digest()), StatusIs(absl::StatusCode::kNotFound));
  AFTERIMAGE_ASSERT_OK(catalog().PutLabels(manifest.digest(), labels));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelTable first, catalog().GetLabels(manifest.digest()));
  EXPECT_EQ(first.labels, labels.labels);
  EXPECT_EQ(first.class_names, labels.class_names);

  const LabelTable corrected = {.labels = {0, 1, 1}, .class_names = {"cat", "dog"}};
  AFTERIMAGE_ASSERT_OK(catalog().PutLabels(manifest.digest(), corrected));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelTable second, catalog().GetLabels(manifest.digest()));
  EXPECT_EQ(second.labels, corrected.labels);

  EXPECT_THAT(catalog().PutLabels(manifest.digest(), {.labels = {0, 1}, .class_names = {"cat", "dog"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 labels for the 3 occurrences")));
}

TEST_P(FeatureCatalogConformance, ProfilesAreFoundByTheirDigest) {
  EXPECT_THAT(catalog().ListProfiles(), IsOkAndHolds(IsEmpty()));
  const SetDescription description = MakeSyntheticDescription();
  const FeatureProfile one = MakeSyntheticProfile(description, 1);
  const FeatureProfile two = MakeSyntheticProfile(description, 2);
  ASSERT_NE(one.digest(), two.digest());
  AFTERIMAGE_ASSERT_OK(catalog().PutProfile(one));
  AFTERIMAGE_ASSERT_OK(catalog().PutProfile(two));
  AFTERIMAGE_ASSERT_OK(catalog().PutProfile(one));
  EXPECT_THAT(catalog().ListProfiles(), IsOkAndHolds(UnorderedElementsAre(one.digest(), two.digest())));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto read, catalog().GetProfile(one.digest()));
  EXPECT_EQ(read->digest(), one.digest());
  EXPECT_EQ(read->content(), one.content());
  EXPECT_THAT(catalog().GetProfile(MakeSyntheticProfile(description, 3).digest()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(one.digest().Hex())));

  AFTERIMAGE_ASSERT_OK(catalog().SetName("calibrated", two.digest(), false));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto named, ResolveProfile(catalog(), "calibrated"));
  EXPECT_EQ(named->digest(), two.digest());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto by_digits,
                                  ResolveProfile(catalog(), one.digest().Hex().substr(0, 12)));
  EXPECT_EQ(by_digits->digest(), one.digest());
  EXPECT_THAT(ResolveProfile(catalog(), "other"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("calibrated  " + two.digest().Hex())));
}

TEST_P(FeatureCatalogConformance, ASetNeedsItsProfile) {
  const SetDescription description = MakeSyntheticDescription({.codec = Codec::kI8x});
  EXPECT_THAT(catalog().CreateSet(description), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                         HasSubstr(description.set.profile_digest.Hex())));
  const SetDescription other = MakeSyntheticDescription({.codec = Codec::kI8x, .teacher = "other"});
  const FeatureProfile of_other = MakeSyntheticProfile(other);
  AFTERIMAGE_ASSERT_OK(catalog().PutProfile(of_other));
  SetDescription mixed = description;
  mixed.set.profile_digest = of_other.digest();
  EXPECT_THAT(catalog().CreateSet(mixed),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       ::testing::AllOf(HasSubstr(other.set.feature_id.Hex()),
                                        HasSubstr(description.set.feature_id.Hex()))));
  SetDescription more_levels = other;
  more_levels.set.levels = {2, 3, 4};
  EXPECT_THAT(catalog().CreateSet(more_levels),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("it has no level 2")));
  EXPECT_THAT(catalog().ListSets(), IsOkAndHolds(IsEmpty()));
  AFTERIMAGE_EXPECT_OK(catalog().CreateSet(other));
}

TEST_P(FeatureCatalogConformance, OneWorkerDecidesARequest) {
  const Digest256 request = MakeSyntheticManifest(1).digest();
  const auto make_set = [&](uint32_t width) {
    const SetDescription description = MakeSyntheticDescription({.width = width});
    AFTERIMAGE_EXPECT_OK(catalog().CreateSet(description));
    return description.set.Id();
  };
  const Digest256 set = make_set(8), other_set = make_set(16);
  const absl::Duration lease = absl::Seconds(2);
  const auto claim = [&](const std::string& worker, absl::Duration duration = absl::Seconds(2)) {
    const absl::StatusOr<ChoiceClaim> claimed = catalog().ClaimChoice(request, worker, duration);
    EXPECT_THAT(claimed, IsOk());
    EXPECT_FALSE(claimed->set_id.has_value());
    return claimed->holder;
  };
  EXPECT_EQ(claim("a"), "a");
  EXPECT_EQ(claim("b"), "a");
  EXPECT_EQ(claim("a"), "a");                        // renewed
  EXPECT_EQ(claim("a", absl::ZeroDuration()), "a");  // given back
  EXPECT_EQ(claim("b"), "b");
  if (cache_->AdvanceClock(lease + absl::Seconds(1))) {
    EXPECT_EQ(claim("c"), "c");
  }

  for (const absl::Duration bad : {absl::Hours(1), absl::InfiniteDuration(), absl::Seconds(-1)}) {
    EXPECT_THAT(catalog().ClaimChoice(request, "d", bad),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 30m")));
  }
  EXPECT_THAT(catalog().ClaimChoice(request, "", lease),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no name")));

  EXPECT_THAT(catalog().DecideChoice(request, set, false), IsOkAndHolds(set));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ChoiceClaim decided, catalog().ClaimChoice(request, "d", lease));
  EXPECT_EQ(decided.set_id, set);
  EXPECT_THAT(catalog().DecideChoice(request, other_set, false), IsOkAndHolds(set));
  EXPECT_THAT(catalog().DecideChoice(request, other_set, true), IsOkAndHolds(other_set));
  cache_->Reopen();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ChoiceClaim replaced, catalog().ClaimChoice(request, "d", lease));
  EXPECT_EQ(replaced.set_id, other_set);
}

TEST_P(FeatureCatalogConformance, NamesStandForOneDigest) {
  const Digest256 one = MakeSyntheticManifest(1).digest();
  const Digest256 two = MakeSyntheticManifest(2).digest();
  PutManifest(MakeSyntheticManifest(1));
  PutManifest(MakeSyntheticManifest(2));
  AFTERIMAGE_ASSERT_OK(catalog().SetName("train", one, false));
  AFTERIMAGE_ASSERT_OK(catalog().SetName("train", one, false));
  EXPECT_THAT(catalog().SetName("train", two, false),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(one.Hex())));
  EXPECT_THAT(catalog().ListNames(), IsOkAndHolds(ElementsAre(Pair("train", one))));
  AFTERIMAGE_ASSERT_OK(catalog().SetName("train", two, true));
  AFTERIMAGE_ASSERT_OK(catalog().SetName("also", two, false));
  EXPECT_THAT(catalog().ListNames(), IsOkAndHolds(ElementsAre(Pair("also", two), Pair("train", two))));
  AFTERIMAGE_ASSERT_OK(catalog().RemoveName("train"));
  EXPECT_THAT(catalog().RemoveName("train"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("train")));
  EXPECT_THAT(catalog().ListNames(), IsOkAndHolds(ElementsAre(Pair("also", two))));
  EXPECT_THAT(catalog().SetName("../up", one, false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("../up")));
  EXPECT_THAT(catalog().SetName(two.Hex(), one, false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a whole id")));
}

TEST_P(FeatureCatalogConformance, ReopenKeepsSetsManifestsLabelsProfilesAndNames) {
  const SetDescription description = MakeSyntheticDescription();
  const Manifest manifest = MakeSyntheticManifest(4);
  PutManifest(manifest);
  AFTERIMAGE_ASSERT_OK(
      catalog().PutLabels(manifest.digest(), {.labels = {0, 0, 1, 1}, .class_names = {"a", "b"}}));
  AFTERIMAGE_ASSERT_OK(FillSet(CreateAndOpen(description), manifest.digest(), 1));
  AFTERIMAGE_ASSERT_OK(catalog().SetName("name", description.set.Id(), false));
  const FeatureProfile profile = MakeSyntheticProfile(description);
  AFTERIMAGE_ASSERT_OK(catalog().PutProfile(profile));
  if (!cache_->Reopen()) GTEST_SKIP() << "this cache does not outlive its process";

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<SetSummary> sets, catalog().ListSets());
  ASSERT_THAT(sets, SizeIs(1));
  EXPECT_EQ(sets[0].num_records, 4u);
  EXPECT_EQ(sets[0].description.Serialize(), description.Serialize());
  EXPECT_THAT(sets[0].aliases, ElementsAre("name"));
  EXPECT_THAT(catalog().ListManifests(), IsOkAndHolds(ElementsAre(manifest.digest())));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelTable labels, catalog().GetLabels(manifest.digest()));
  EXPECT_THAT(labels.labels, ElementsAre(0, 0, 1, 1));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto kept, catalog().GetProfile(profile.digest()));
  EXPECT_EQ(kept->content(), profile.content());
}

}  // namespace afterimage::testing
