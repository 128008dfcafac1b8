// Bad bytes, a full disk, a quota.
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "cache_server/storage/folder_catalog.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cache_server/storage/cache_fixture.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::CountStates;
using ::testing::ElementsAre;
using testing::FillSet;
using testing::FixtureFails;
using testing::FixtureRequest;
using testing::FlipBitOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeSyntheticBlock;
using testing::MakeSyntheticDescription;
using testing::MakeSyntheticManifest;
using testing::PublishClaimed;
using ::testing::SizeIs;
using testing::StateCounts;
using testing::StatusIs;
using testing::TemporaryFolder;
using testing::WholeSet;

class FolderFaultsTest : public ::testing::Test {
 protected:
  absl::Status Fill(const std::filesystem::path& path, const SetDescription& description,
                    uint32_t num_view_seeds, FolderCatalogOptions options = {}) {
    options.create = true;
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto catalog, FolderCatalog::Open(path, options));
    AFTERIMAGE_RETURN_IF_ERROR(catalog->PutManifest(manifest_));
    AFTERIMAGE_RETURN_IF_ERROR(catalog->CreateSet(description).status());
    AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set,
                                catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
    return FillSet(set, manifest_.digest(), num_view_seeds, FixtureFails);
  }
  RecordKey DecodableKey(size_t index, uint32_t view_seed) {
    while (FixtureFails({manifest_.keys()[index], view_seed})) ++index;
    return {manifest_.keys()[index], view_seed};
  }

  TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "cache";
  const SetDescription description_ = MakeSyntheticDescription();
  const Digest256 id_ = description_.set.Id();
  const Manifest manifest_ = MakeSyntheticManifest(60);
};

TEST_F(FolderFaultsTest, AFlippedBitIsNamedTheRestIsServedAndRepairGivesItBack) {
  AFTERIMAGE_ASSERT_OK(Fill(path_, description_, 2));
  const RecordKey key = DecodableKey(20, 1);
  ASSERT_TRUE(FlipBitOf(SetFolder(path_, id_), description_, key));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
    const StateCounts counts = CountStates(*set.store, manifest_, 2);
    EXPECT_EQ(counts.damaged, 1u);
    EXPECT_EQ(counts.ok, WholeSet(manifest_, 2).ok - 1);
    EXPECT_EQ(counts.failed, WholeSet(manifest_, 2).failed);
    EXPECT_THAT(counts.problems, ElementsAre(HasSubstr(key.ToString())));
    EXPECT_THAT(ReadOne(*set.store, key), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(key.ToString())));
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VerifyReport report, catalog->VerifySet(id_));
  EXPECT_FALSE(report.is_clean());
  ASSERT_THAT(report.damaged, SizeIs(1));
  EXPECT_EQ(report.damaged[0].key, key);
  EXPECT_THAT(report.damaged_files, ElementsAre(HasSubstr(".sst: checksum ")));

  // What `afterimage verify --repair` and the next precompute do.
  AFTERIMAGE_ASSERT_OK(catalog->MarkDamaged(id_, {key}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult claim,
                                  set.ledger->Claim(FixtureRequest(manifest_.digest(), 2)));
  ASSERT_THAT(claim.units, SizeIs(1));
  EXPECT_THAT(claim.units[0].wanted, ElementsAre(key));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PublishReport published, PublishClaimed(set, claim.units[0]));
  EXPECT_EQ(published.records_written, 1u);
  EXPECT_EQ(CountStates(*set.store, manifest_, 2), WholeSet(manifest_, 2));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult nothing,
                                  set.ledger->Claim(FixtureRequest(manifest_.digest(), 2)));
  EXPECT_TRUE(nothing.all_complete);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<SetSummary> sets, catalog->ListSets());
  EXPECT_EQ(sets[0].num_records, WholeSet(manifest_, 2).ok);  // a repaired record counts once
}

TEST_F(FolderFaultsTest, NoByteOfATableCanChangeWhatARecordSaysOrThatItIsThere) {
  AFTERIMAGE_ASSERT_OK(Fill(path_, description_, 1));
  const RecordKey key = DecodableKey(20, 0);
  const std::string block = MakeSyntheticBlock(description_, key);
  const testing::PlaceOnDisk place = testing::FindOnDisk(SetFolder(path_, id_).database(), block);
  ASSERT_FALSE(place.file.empty());
  // RocksDB puts lengths and key before the value, an index of the block and a checksum behind it.
  constexpr size_t kAround = 40;
  ASSERT_GE(place.offset, kAround);
  size_t num_damaged = 0;
  for (size_t at = place.offset - kAround; at < place.offset + block.size() + kAround;) {
    std::fstream file(place.file, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ 0x01)).flush();
    {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
      const absl::StatusOr<PinnedBytes> read = ReadOne(*set.store, key);
      const std::string found = read.ok() ? std::string(read->bytes.begin(), read->bytes.end()) : "";
      EXPECT_TRUE(absl::IsDataLoss(read.status()) || found == block) << "byte " << at << ": " << read.status();
      num_damaged += !read.ok();
    }
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte).flush();
    const bool in_value = at >= place.offset && at < place.offset + block.size();
    at += in_value ? 29 : 1;
  }
  EXPECT_GT(num_damaged, block.size() / 29);  // every one within the value, and its key
}

TEST_F(FolderFaultsTest, TheFirstRecordOfAFileCanBeRepairedToo) {
  const SetDescription description =
      MakeSyntheticDescription({.layout = {.num_shards = 1, .seeds_per_unit = 1}});
  AFTERIMAGE_ASSERT_OK(Fill(path_, description, 1));
  const RecordKey key = DecodableKey(0, 0);
  ASSERT_EQ(key.image, manifest_.keys()[0]) << "the fixture's first picture must be one that decodes";
  ASSERT_TRUE(FlipBitOf(SetFolder(path_, description.set.Id()), description, key));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
  EXPECT_EQ(CountStates(*set.store, manifest_, 1).damaged,
            1u);  // a contributor's read notes it for the next claim
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest_.digest(), 1));
  EXPECT_EQ(CountStates(*set.store, manifest_, 1), WholeSet(manifest_, 1));
}

TEST_F(FolderFaultsTest, ATruncatedTableKeepsItsSetFromOpeningAndNoOther) {
  const SetDescription other = MakeSyntheticDescription({.teacher = "other"});
  AFTERIMAGE_ASSERT_OK(Fill(path_, description_, 1));
  AFTERIMAGE_ASSERT_OK(Fill(path_, other, 1));
  const RecordKey key = DecodableKey(3, 0);
  const std::filesystem::path table =
      testing::FindOnDisk(SetFolder(path_, id_).database(), MakeSyntheticBlock(description_, key)).file;
  ASSERT_FALSE(table.empty());
  std::filesystem::resize_file(table, std::filesystem::file_size(table) / 2);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
  for (const OpenMode mode : {OpenMode::kRead, OpenMode::kContribute}) {
    EXPECT_THAT(catalog->OpenSet(id_, mode),
                StatusIs(absl::StatusCode::kDataLoss,
                         AllOf(HasSubstr(id_.Hex()), HasSubstr(table.filename().stem()))));
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(other.set.Id(), OpenMode::kRead));
  EXPECT_EQ(CountStates(*set.store, manifest_, 1), WholeSet(manifest_, 1));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<SetSummary> sets, catalog->ListSets());
  EXPECT_THAT(sets, SizeIs(2));
}

TEST_F(FolderFaultsTest, AMissingTableIsLostDataNotAnEmptySet) {
  AFTERIMAGE_ASSERT_OK(Fill(path_, description_, 1));
  const RecordKey key = DecodableKey(3, 0);
  std::filesystem::remove(
      testing::FindOnDisk(SetFolder(path_, id_).database(), MakeSyntheticBlock(description_, key)).file);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
  for (const OpenMode mode : {OpenMode::kRead, OpenMode::kContribute}) {
    EXPECT_THAT(catalog->OpenSet(id_, mode), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(id_.Hex())));
  }
}

TEST_F(FolderFaultsTest, ADamagedManifestOfTheDatabaseIsNamed) {
  AFTERIMAGE_ASSERT_OK(Fill(path_, description_, 1));
  for (const auto& entry : std::filesystem::directory_iterator(SetFolder(path_, id_).database())) {
    if (entry.path().filename().string().rfind("MANIFEST-", 0) != 0) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20);
    file.put('!');
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
  EXPECT_THAT(catalog->OpenSet(id_, OpenMode::kContribute),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(id_.Hex())));
  EXPECT_THAT(catalog->OpenSet(id_, OpenMode::kRead),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(id_.Hex())));
}

TEST_F(FolderFaultsTest, TheQuotaStopsBeforeItIsPassedAndNothingIsLost) {
  constexpr uint64_t kQuota = 300'000;
  const absl::Status stopped = Fill(path_, description_, 4, {.quota_bytes = kQuota});
  EXPECT_THAT(stopped, StatusIs(absl::StatusCode::kResourceExhausted,
                                AllOf(HasSubstr("quota of 300 KB"), HasSubstr(path_.string()),
                                      HasSubstr("raise the quota"))));
  EXPECT_LE(SetFolder(path_, id_).MeasureBytes(), kQuota);
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
    const StateCounts counts = CountStates(*set.store, manifest_, 4);
    EXPECT_GT(counts.ok, 0u);
    EXPECT_GT(counts.missing, 0u);
    EXPECT_THAT(counts.problems, IsEmpty());
  }
  // The lease of the unit that was stopped is still alive; a clock an hour on lets it expire.
  AFTERIMAGE_ASSERT_OK(Fill(path_, description_, 4, {.clock = [] { return absl::Now() + absl::Hours(1); }}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kRead));
  EXPECT_EQ(CountStates(*set.store, manifest_, 4), WholeSet(manifest_, 4));
}

// A small file system of the test's own, to fill.
class TinyDisk {
 public:
  explicit TinyDisk(const std::filesystem::path& path) : path_(path) {
    std::filesystem::create_directories(path);
    error_ = mount("none", path.c_str(), "tmpfs", 0, "size=6m") == 0 ? 0 : errno;
  }
  ~TinyDisk() {
    if (error_ == 0) umount2(path_.c_str(), MNT_DETACH);
  }
  int error() const { return error_; }
  void TakeSpace(uint64_t leave_bytes) {
    const uint64_t free = std::filesystem::space(path_).available;
    std::ofstream(path_ / "ballast") << std::string(free - leave_bytes, 'x');
  }
  void FreeSpace() { std::filesystem::remove(path_ / "ballast"); }

 private:
  const std::filesystem::path path_;
  int error_ = 0;
};

TEST_F(FolderFaultsTest, AFullDiskStopsClearlyAndGoesOnAfterSpaceIsFreed) {
  TinyDisk disk(folder_ / "disk");
  if (disk.error() != 0) GTEST_SKIP() << "cannot mount a small file system: " << std::strerror(disk.error());
  const std::filesystem::path path = folder_ / "disk/cache";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto catalog, FolderCatalog::Open(path, {.create = true}));
  AFTERIMAGE_ASSERT_OK(catalog->PutManifest(manifest_));
  AFTERIMAGE_ASSERT_OK(catalog->CreateSet(description_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog->OpenSet(id_, OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest_.digest(), 2, FixtureFails));

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult claim,
                                  set.ledger->Claim(FixtureRequest(manifest_.digest(), 4)));
  ASSERT_THAT(claim.units, SizeIs(1));
  // First with room for the blocks but none for the files, as when another program fills the disk meanwhile.
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto writer, set.publisher->Open(claim.units[0].lease));
    for (const RecordKey& key : claim.units[0].wanted) {
      const std::string block =
          FixtureFails(key) ? EncodeFailedBlock("made up") : MakeSyntheticBlock(description_, key);
      AFTERIMAGE_ASSERT_OK(writer->Add(key, AsBytes(block)));
    }
    disk.TakeSpace(20'000);
    EXPECT_THAT(writer->Publish(testing::MakeSyntheticMetadata("w")),
                StatusIs(absl::StatusCode::kResourceExhausted,
                         AllOf(HasSubstr(path.string()), HasSubstr("free space"))));
  }
  // Then with a disk that is full from the start.
  EXPECT_THAT(
      PublishClaimed(set, claim.units[0], FixtureFails),
      StatusIs(absl::StatusCode::kResourceExhausted, AllOf(HasSubstr("disk full"), HasSubstr("free space"))));
  AFTERIMAGE_ASSERT_OK(set.store->Refresh());
  EXPECT_EQ(CountStates(*set.store, manifest_, 2), WholeSet(manifest_, 2));
  EXPECT_TRUE(std::filesystem::is_empty(SetFolder(path, id_).incoming()));

  disk.FreeSpace();
  AFTERIMAGE_ASSERT_OK(PublishClaimed(set, claim.units[0], FixtureFails));
  AFTERIMAGE_ASSERT_OK(FillSet(set, manifest_.digest(), 4, FixtureFails));
  EXPECT_EQ(CountStates(*set.store, manifest_, 4), WholeSet(manifest_, 4));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VerifyReport report, catalog->VerifySet(id_));
  EXPECT_TRUE(report.is_clean());
}

}  // namespace
}  // namespace afterimage
