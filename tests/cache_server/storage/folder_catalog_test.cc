#include "cache_server/storage/folder_catalog.h"

#include <fstream>

#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache_server/storage/cache_fixture.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::CountStates;
using ::testing::Each;
using testing::FillSet;
using testing::FixtureFails;
using testing::FixtureRequest;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::MakeSyntheticBlock;
using testing::MakeSyntheticDescription;
using testing::MakeSyntheticManifest;
using testing::NothingThere;
using testing::PublishClaimed;
using ::testing::SizeIs;
using testing::StateCounts;
using testing::StatusIs;
using testing::TemporaryFolder;
using testing::WholeSet;

class FolderCatalogTest : public ::testing::Test {
 protected:
  std::unique_ptr<FolderCatalog> OpenCatalog(FolderCatalogOptions options = {}) {
    options.create = true;
    absl::StatusOr<std::unique_ptr<FolderCatalog>> catalog = FolderCatalog::Open(path_, options);
    EXPECT_THAT(catalog, IsOk());
    return catalog.ok() ? *std::move(catalog) : nullptr;
  }
  OpenedSet OpenForWork(FolderCatalog& catalog, const SetDescription& description) {
    EXPECT_THAT(catalog.CreateSet(description), IsOk());
    absl::StatusOr<OpenedSet> set = catalog.OpenSet(description.set.Id(), OpenMode::kContribute);
    EXPECT_THAT(set, IsOk());
    return set.ok() ? *std::move(set) : OpenedSet();
  }
  // Files and their sizes and times below the cache, to see that nothing was touched.
  std::map<std::string, std::pair<uint64_t, int64_t>> Snapshot() {
    std::map<std::string, std::pair<uint64_t, int64_t>> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) {
      files[entry.path().string()] = {entry.is_regular_file() ? entry.file_size() : 0,
                                      entry.last_write_time().time_since_epoch().count()};
    }
    return files;
  }

  TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "cache";
  const SetDescription description_ = MakeSyntheticDescription();
  const Digest256 id_ = description_.set.Id();
};

TEST_F(FolderCatalogTest, ADamagedProfileIsDataLossAndIsWrittenAnew) {
  const FeatureProfile profile = testing::MakeSyntheticProfile(description_);
  AFTERIMAGE_ASSERT_OK(OpenCatalog()->PutProfile(profile));
  const std::filesystem::path file = path_ / "profiles" / profile.digest().Hex();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::string bytes, ReadFile(file));
  EXPECT_EQ(bytes, profile.Serialize());
  bytes[100] ^= 1;
  std::ofstream(file, std::ios::trunc) << bytes;
  const std::unique_ptr<FolderCatalog> catalog = OpenCatalog();
  EXPECT_THAT(catalog->GetProfile(profile.digest()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(file.string())));
  std::filesystem::rename(file, path_ / "profiles" / Digest256().Hex());
  EXPECT_THAT(catalog->GetProfile(Digest256()), StatusIs(absl::StatusCode::kDataLoss));
  AFTERIMAGE_ASSERT_OK(catalog->PutProfile(profile));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto read, catalog->GetProfile(profile.digest()));
  EXPECT_EQ(read->content(), profile.content());
}

TEST_F(FolderCatalogTest, SaysWhatIsNoCache) {
  EXPECT_THAT(FolderCatalog::Open(path_),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("no cache at"), HasSubstr("afterimage-precompute"))));
  EXPECT_FALSE(std::filesystem::exists(path_));
  std::filesystem::create_directory(path_);
  std::ofstream(path_ / "holiday.jpg") << "x";
  EXPECT_THAT(
      FolderCatalog::Open(path_, {.create = true}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("holds other files and is no cache")));
}

TEST_F(FolderCatalogTest, RefusesAnotherFormatVersionWithBothTold) {
  OpenCatalog();
  std::ofstream(path_ / "CACHE") << "{\"format\":\"afterimage cache\",\"version\":1}\n";
  EXPECT_THAT(FolderCatalog::Open(path_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("version 1"), HasSubstr("knows version 2"))));
  std::ofstream(path_ / "CACHE") << "{\"format\":\"something else\",\"version\":1}\n";
  EXPECT_THAT(FolderCatalog::Open(path_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is not of an Afterimage cache")));
}

TEST_F(FolderCatalogTest, RefusesASetOfAnotherDescriptionVersion) {
  const auto catalog = OpenCatalog();
  AFTERIMAGE_ASSERT_OK(catalog->CreateSet(description_));
  const std::filesystem::path spec = SetFolder(path_, id_).spec();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::string text, ReadFile(spec));
  const size_t at = text.find("\"format_version\":1");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 18, "\"format_version\":7");
  AFTERIMAGE_ASSERT_OK(WriteFileAtomically(spec, text));
  EXPECT_THAT(catalog->OpenSet(id_, OpenMode::kRead),
              StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("7"), HasSubstr("1"))));
}

TEST_F(FolderCatalogTest, ReopenKeepsIngestedUnitsAndVerifiesClean) {
  const Manifest manifest = MakeSyntheticManifest(50);
  {
    const auto catalog = OpenCatalog();
    AFTERIMAGE_ASSERT_OK(catalog->PutManifest(manifest));
    const OpenedSet set = OpenForWork(*catalog, description_);
    AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 4, FixtureFails));
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
  EXPECT_EQ(CountStates(*set.store, manifest, 4), WholeSet(manifest, 4));
  uint64_t last_total = 0;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VerifyReport report,
                                  catalog->VerifySet(id_, [&](uint64_t, uint64_t total) {
                                    last_total = total;
                                    return true;
                                  }));
  EXPECT_TRUE(report.is_clean());
  EXPECT_EQ(report.num_ok, WholeSet(manifest, 4).ok);
  EXPECT_EQ(report.num_failed, WholeSet(manifest, 4).failed);
  EXPECT_EQ(report.num_files, 4u * 4u);  // shards, seeds
  EXPECT_EQ(last_total, 200u);
  EXPECT_THAT(catalog->VerifySet(id_, [](uint64_t, uint64_t) { return false; }),
              StatusIs(absl::StatusCode::kCancelled));
}

// design.md section 5: what ingested files must look like.
TEST_F(FolderCatalogTest, WhatIsReadIsVerifiedOnTheWay) {
  const Manifest manifest = MakeSyntheticManifest(4);
  {
    const auto catalog = OpenCatalog();
    AFTERIMAGE_ASSERT_OK(catalog->PutManifest(manifest));
    AFTERIMAGE_ASSERT_OK(FillSet(OpenForWork(*catalog, description_), manifest.digest(), 1));
  }
  for (const bool direct_reads : {false, true}) {
    const std::unique_ptr<FolderCatalog> catalog = OpenCatalog({.direct_reads = direct_reads});
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet read, catalog->OpenSet(id_, OpenMode::kRead));
    for (const Selection& selection : {Selection{}, Selection{.pixels = false}}) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block,
                                      ReadOne(*read.store, {manifest.keys()[0], 0}, selection));
      EXPECT_TRUE(block.verified);
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock parsed, FeatureBlock::Parse(block.bytes));
      AFTERIMAGE_EXPECT_OK(parsed.VerifyAll());
    }
  }
}

TEST_F(FolderCatalogTest, AfterAPrecomputeLevel0IsEmptyAndNothingWasCompacted) {
  const SetDescription description =
      MakeSyntheticDescription({.layout = {.num_shards = 64, .seeds_per_unit = 2}});
  const Manifest manifest = MakeSyntheticManifest(600);
  const auto catalog = OpenCatalog();
  AFTERIMAGE_ASSERT_OK(catalog->PutManifest(manifest));
  const OpenedSet set = OpenForWork(*catalog, description);
  // All units at once, published from the last to the first and every other one first: the order of arrival
  // must not matter.
  ClaimRequest request = FixtureRequest(manifest.digest(), 2);
  request.max_units = 64;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult claim, set.ledger->Claim(request));
  ASSERT_THAT(claim.units, SizeIs(64));
  for (const size_t parity : {1u, 0u}) {
    for (size_t i = claim.units.size(); i-- > 0;) {
      if (i % 2 != parity) continue;
      AFTERIMAGE_ASSERT_OK(PublishClaimed(set, claim.units[i], FixtureFails));
    }
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetFileStatistics statistics,
                                  catalog->FileStatistics(description.set.Id()));
  ASSERT_THAT(statistics.files_per_level, SizeIs(7));
  EXPECT_EQ(statistics.files_per_level.back(), 128u);
  for (size_t level = 0; level < 6; ++level)
    EXPECT_EQ(statistics.files_per_level[level], 0u) << "level " << level;
  EXPECT_EQ(statistics.compaction_bytes_written, 0u);
  EXPECT_EQ(CountStates(*set.store, manifest, 2), WholeSet(manifest, 2));
}

TEST_F(FolderCatalogTest, MoreViewSeedsLandInTheLastLevelToo) {
  const Manifest manifest = MakeSyntheticManifest(60);
  const auto catalog = OpenCatalog();
  AFTERIMAGE_ASSERT_OK(catalog->PutManifest(manifest));
  const OpenedSet set = OpenForWork(*catalog, description_);
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 2, FixtureFails));
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 6, FixtureFails));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetFileStatistics statistics, catalog->FileStatistics(id_));
  ASSERT_THAT(statistics.files_per_level, SizeIs(7));
  EXPECT_EQ(statistics.files_per_level.back(), 4u * 6u);
  EXPECT_EQ(CountStates(*set.store, manifest, 6), WholeSet(manifest, 6));
}

TEST_F(FolderCatalogTest, AGrownDataSetLandsAboveTheFirstWithoutCompaction) {
  const auto catalog = OpenCatalog();
  const OpenedSet set = OpenForWork(*catalog, description_);
  for (const uint64_t num_images : {40, 60, 80}) {
    const Manifest manifest = MakeSyntheticManifest(num_images);
    AFTERIMAGE_ASSERT_OK(catalog->PutManifest(manifest));
    AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 2, FixtureFails));
    EXPECT_EQ(CountStates(*set.store, manifest, 2), WholeSet(manifest, 2));
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetFileStatistics statistics, catalog->FileStatistics(id_));
  EXPECT_EQ(statistics.files_per_level.front(), 0u);
  EXPECT_EQ(statistics.compaction_bytes_written, 0u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<SetSummary> sets, catalog->ListSets());
  ASSERT_THAT(sets, SizeIs(1));
  const StateCounts whole = WholeSet(MakeSyntheticManifest(80), 2);
  EXPECT_EQ(sets[0].num_records, whole.ok);  // each record once, whichever manifest brought it
  EXPECT_EQ(sets[0].num_failed, whole.failed);
  EXPECT_THAT(sets[0].manifests, SizeIs(3));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VerifyReport report, catalog->VerifySet(id_));
  EXPECT_TRUE(report.is_clean());
  EXPECT_EQ(report.num_ok, whole.ok);
}

TEST_F(FolderCatalogTest, ReadersWriteNothingIntoTheCache) {
  const Manifest manifest = MakeSyntheticManifest(20);
  {
    const auto catalog = OpenCatalog();
    AFTERIMAGE_ASSERT_OK(catalog->PutManifest(manifest));
    AFTERIMAGE_ASSERT_OK(FillSet(OpenForWork(*catalog, description_), manifest.digest(), 1, FixtureFails));
  }
  const auto before = Snapshot();
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
    EXPECT_EQ(CountStates(*set.store, manifest, 1), WholeSet(manifest, 1));
    AFTERIMAGE_ASSERT_OK(set.store->Refresh());
    AFTERIMAGE_ASSERT_OK(catalog->ListSets());
    AFTERIMAGE_ASSERT_OK(catalog->ListFailures(id_, 10));
    AFTERIMAGE_ASSERT_OK(catalog->VerifySet(id_));
  }
  EXPECT_EQ(Snapshot(), before);
}

TEST_F(FolderCatalogTest, AReaderFollowsWhatIsWrittenMeanwhile) {
  const Manifest manifest = MakeSyntheticManifest(40);
  const auto writer = OpenCatalog();
  AFTERIMAGE_ASSERT_OK(writer->PutManifest(manifest));
  const OpenedSet work = OpenForWork(*writer, description_);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto reader, FolderCatalog::Open(path_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet view, reader->OpenSet(id_, OpenMode::kRead));
  EXPECT_EQ(CountStates(*view.store, manifest, 2), NothingThere(manifest, 2));

  uint64_t seen = 0;
  for (int unit = 0; unit < 4; ++unit) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult claim,
                                    work.ledger->Claim(FixtureRequest(manifest.digest(), 2)));
    ASSERT_THAT(claim.units, SizeIs(1));
    AFTERIMAGE_ASSERT_OK(PublishClaimed(work, claim.units[0], FixtureFails));
    AFTERIMAGE_ASSERT_OK(view.store->Refresh());
    const StateCounts counts = CountStates(*view.store, manifest, 2);
    EXPECT_THAT(counts.problems, IsEmpty());
    EXPECT_EQ(counts.ok + counts.failed, seen + claim.units[0].wanted.size());
    seen = counts.ok + counts.failed;
  }
  EXPECT_EQ(CountStates(*view.store, manifest, 2), WholeSet(manifest, 2));
}

TEST_F(FolderCatalogTest, ASecondWriterBecomesAContributorAndTakesOver) {
  const Manifest manifest = MakeSyntheticManifest(40);
  auto first = OpenCatalog({.poll_interval = absl::Hours(1)});
  auto second = OpenCatalog({.poll_interval = absl::Hours(1)});
  AFTERIMAGE_ASSERT_OK(first->PutManifest(manifest));
  OpenedSet holder = OpenForWork(*first, description_);
  OpenedSet guest = OpenForWork(*second, description_);
  const std::filesystem::path incoming = SetFolder(path_, id_).incoming();

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult claim,
                                  guest.ledger->Claim(FixtureRequest(manifest.digest(), 2, "guest")));
  ASSERT_THAT(claim.units, SizeIs(1));
  AFTERIMAGE_ASSERT_OK(PublishClaimed(guest, claim.units[0], FixtureFails));
  // Durable, complete for everybody, but not yet in the database.
  EXPECT_FALSE(std::filesystem::is_empty(incoming));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LedgerProgress progress,
                                  guest.ledger->Progress(manifest.digest(), 2));
  EXPECT_EQ(progress.units_complete, 1u);
  // The holder ingests it at its next call, and nobody computes it again.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult next,
                                  holder.ledger->Claim(FixtureRequest(manifest.digest(), 2, "holder")));
  ASSERT_THAT(next.units, SizeIs(1));
  EXPECT_NE(next.units[0].lease.unit, claim.units[0].lease.unit);
  EXPECT_TRUE(std::filesystem::is_empty(incoming));
  AFTERIMAGE_ASSERT_OK(PublishClaimed(holder, next.units[0], FixtureFails));

  holder = OpenedSet();
  first.reset();
  AFTERIMAGE_ASSERT_OK(FillSet(guest, manifest.digest(), 2, FixtureFails));
  EXPECT_TRUE(std::filesystem::is_empty(incoming));
  EXPECT_EQ(CountStates(*guest.store, manifest, 2), WholeSet(manifest, 2));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VerifyReport report, second->VerifySet(id_));
  EXPECT_TRUE(report.is_clean());
}

TEST_F(FolderCatalogTest, TwoContributionsOfOneUnitAreComparedAndStoredOnce) {
  const Manifest manifest = MakeSyntheticManifest(20);
  absl::Time now = absl::Now();
  const auto clock = [&now] { return now; };
  const auto first = OpenCatalog({.clock = clock, .poll_interval = absl::Hours(1)});
  const auto second = OpenCatalog({.clock = clock, .poll_interval = absl::Hours(1)});
  const auto third = OpenCatalog({.clock = clock, .poll_interval = absl::Hours(1)});
  AFTERIMAGE_ASSERT_OK(first->PutManifest(manifest));
  const SetDescription description =
      MakeSyntheticDescription({.layout = {.num_shards = 1, .seeds_per_unit = 1}});
  const OpenedSet holder = OpenForWork(*first, description);
  const OpenedSet slow = OpenForWork(*second, description);
  const OpenedSet quick = OpenForWork(*third, description);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult one,
                                  slow.ledger->Claim(FixtureRequest(manifest.digest(), 1, "slow")));
  ASSERT_THAT(one.units, SizeIs(1));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto writer, slow.publisher->Open(one.units[0].lease));
  for (const RecordKey& key : one.units[0].wanted) {
    AFTERIMAGE_ASSERT_OK(writer->Add(key, AsBytes(MakeSyntheticBlock(description, key, /*salt=*/1))));
  }
  now += absl::Minutes(5);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult two,
                                  quick.ledger->Claim(FixtureRequest(manifest.digest(), 1, "quick")));
  ASSERT_THAT(two.units, SizeIs(1));
  AFTERIMAGE_ASSERT_OK(PublishClaimed(quick, two.units[0]));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PublishReport report,
                                  writer->Publish(testing::MakeSyntheticMetadata("slow")));
  EXPECT_EQ(report.records_written, 0u);
  EXPECT_EQ(report.duplicates_different, 20u);
  AFTERIMAGE_ASSERT_OK(holder.store->Refresh());
  const StateCounts counts = CountStates(*holder.store, manifest, 1);
  EXPECT_EQ(counts.ok, 20u);
  EXPECT_THAT(counts.problems, IsEmpty());
  EXPECT_THAT(ReadFile(SetFolder(path_, description.set.Id()).incidents()),
              testing::IsOkAndHolds(HasSubstr("20 records of worker slow differ")));
}

TEST_F(FolderCatalogTest, AUnitIsWrittenAgainWithWhatCameLateAndWithoutWhatOthersPublished) {
  const Manifest manifest = MakeSyntheticManifest(20);
  absl::Time now = absl::Now();
  const auto clock = [&now] { return now; };
  const auto first = OpenCatalog({.clock = clock, .poll_interval = absl::Hours(1)});
  const auto second = OpenCatalog({.clock = clock, .poll_interval = absl::Hours(1)});
  AFTERIMAGE_ASSERT_OK(first->PutManifest(manifest));
  const SetDescription description =
      MakeSyntheticDescription({.layout = {.num_shards = 1, .seeds_per_unit = 2}});
  const OpenedSet quick = OpenForWork(*first, description);
  const OpenedSet slow = OpenForWork(*second, description);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult both_seeds,
                                  slow.ledger->Claim(FixtureRequest(manifest.digest(), 2, "slow")));
  ASSERT_THAT(both_seeds.units, SizeIs(1));
  std::vector<RecordKey> keys = both_seeds.units[0].wanted;
  ASSERT_THAT(keys, SizeIs(40));
  std::swap(keys[10], keys[20]);  // late, in both seeds
  std::swap(keys[11], keys[21]);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto writer, slow.publisher->Open(both_seeds.units[0].lease));
  for (const RecordKey& key : keys) {
    AFTERIMAGE_ASSERT_OK(writer->Add(key, AsBytes(MakeSyntheticBlock(description, key))));
  }
  now += absl::Minutes(5);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult one_seed,
                                  quick.ledger->Claim(FixtureRequest(manifest.digest(), 1, "quick")));
  ASSERT_THAT(one_seed.units, SizeIs(1));
  AFTERIMAGE_ASSERT_OK(PublishClaimed(quick, one_seed.units[0]));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PublishReport report,
                                  writer->Publish(testing::MakeSyntheticMetadata("slow")));
  EXPECT_EQ(report.records_written, 20u);
  EXPECT_EQ(report.duplicates_equal + report.duplicates_different, 20u);
  AFTERIMAGE_ASSERT_OK(quick.store->Refresh());
  for (const RecordKey& key : keys) {
    if (key.view_seed == 0) continue;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes block, ReadOne(*quick.store, key));
    EXPECT_EQ(std::string(block.bytes.begin(), block.bytes.end()), MakeSyntheticBlock(description, key));
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VerifyReport verified, first->VerifySet(description.set.Id()));
  EXPECT_TRUE(verified.is_clean());
}

}  // namespace
}  // namespace afterimage
