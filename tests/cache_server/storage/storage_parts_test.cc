// The small parts of the room: marker, spool, damage list, checksum, locks, status conversion.
#include <fstream>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/block_checks.h"
#include "cache_server/storage/damage_list.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/record_spool.h"
#include "cache_server/storage/rocksdb_options.h"
#include "cache_server/storage/rocksdb_status.h"
#include "cache_server/storage/unit_marker.h"
#include "cache_server/storage/xxh3_file_checksum.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/cache.h"
#include "rocksdb/db.h"
#include "rocksdb/sst_file_reader.h"
#include "rocksdb/sst_file_writer.h"
#include "rocksdb/table.h"
#include "tests/cache_server/storage/cache_fixture.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsNull;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::MakeSyntheticMetadata;
using ::testing::NotNull;
using ::testing::SizeIs;
using testing::StatusIs;
using testing::SyntheticImageKey;
using testing::TemporaryFolder;

UnitMarker Marker() {
  UnitMarker marker{.unit = {.shard = 3, .seed_begin = 2, .seed_end = 4}, .num_records = 10, .num_failed = 1};
  marker.unit.manifest.bytes.fill(7);
  marker.workers = {MakeSyntheticMetadata("w1")};
  marker.failures = {{{SyntheticImageKey(1), 2}, "not a picture: \xff\xfe"}};
  return marker;
}

TEST(UnitMarkerTest, ReadsWhatItWroteWhateverBytesAReasonHas) {
  const std::string text = Marker().Serialize();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const UnitMarker read, UnitMarker::Parse(text));
  EXPECT_EQ(read.unit, Marker().unit);
  EXPECT_EQ(read.num_records, 10u);
  EXPECT_EQ(read.num_failed, 1u);
  ASSERT_THAT(read.workers, SizeIs(1));
  EXPECT_EQ(read.workers[0].device, "cpu: made up");
  ASSERT_THAT(read.failures, SizeIs(1));
  EXPECT_EQ(read.failures[0].key, (RecordKey{SyntheticImageKey(1), 2}));
  EXPECT_THAT(read.failures[0].reason, HasSubstr("not a picture"));
}

TEST(UnitMarkerTest, RefusesAnotherVersionWithBothTold) {
  std::string text = Marker().Serialize();
  text.replace(text.find("\"version\":1,") == std::string::npos ? text.find("\"version\":1")
                                                                : text.find("\"version\":1,"),
               11, "\"version\":9");
  EXPECT_THAT(UnitMarker::Parse(text), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                AllOf(HasSubstr("version 9"), HasSubstr("knows 1"))));
}

TEST(UnitMarkerTest, AbsorbsWhatWasWrittenBefore) {
  UnitMarker later = Marker();
  UnitMarker earlier = Marker();
  earlier.unit.seed_end = 3;
  earlier.workers[0].num_records = 10;
  earlier.failures[0].key.view_seed = 3;
  later.Absorb(earlier);
  EXPECT_EQ(later.unit.seed_end, 4u);
  EXPECT_EQ(later.num_records, 20u);
  EXPECT_THAT(later.workers, SizeIs(1));
  EXPECT_EQ(later.workers[0].num_records, 10u);
  EXPECT_THAT(later.failures, SizeIs(2));
}

TEST(RecordSpoolTest, GivesBackBlocksFromMemoryAndFromItsFile) {
  TemporaryFolder folder;
  RecordSpool spool(folder.path(), /*memory_bytes=*/1000);
  std::vector<RecordSpool::Place> places;
  const auto block = [](size_t i) { return std::string(100 + i, static_cast<char>('a' + i % 26)); };
  for (size_t i = 0; i < 40; ++i) {
    const std::string bytes = block(i);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RecordSpool::Place place, spool.Append(AsBytes(bytes)));
    places.push_back(place);
  }
  EXPECT_FALSE(places.front().in_file);
  EXPECT_TRUE(places.back().in_file);
  std::string buffer;
  for (size_t i = 40; i-- > 0;) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ByteSpan bytes, spool.Read(places[i], buffer));
    EXPECT_EQ(std::string(bytes.begin(), bytes.end()), block(i));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // the file has no name
}

TEST(DamageListTest, KeepsEachKeyOnceUntilItIsRemoved) {
  TemporaryFolder folder;
  const DamageList list(folder / "damaged");
  EXPECT_THAT(list.Read(), IsOkAndHolds(IsEmpty()));
  const RecordKey a{SyntheticImageKey(1), 0};
  const RecordKey b{SyntheticImageKey(1), 4000000000};
  EXPECT_THAT(list.Add({b, a}), IsOk());
  EXPECT_THAT(list.Add({a}), IsOk());
  EXPECT_THAT(list.Read(), IsOkAndHolds(ElementsAre(a, b)));
  EXPECT_THAT(list.Remove({a}), IsOk());
  EXPECT_THAT(list.Read(), IsOkAndHolds(ElementsAre(b)));
}

TEST(DamageListTest, NamesTheFileAndTheLineThatIsNoKey) {
  TemporaryFolder folder;
  std::ofstream(folder / "damaged") << "rubbish\n";
  EXPECT_THAT(DamageList(folder / "damaged").Read(),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("damaged: not a record key"), HasSubstr("rubbish"))));
}

TEST(Xxh3FileChecksumTest, IsTheCanonicalXxh3OfTheFile) {
  TemporaryFolder folder;
  std::ofstream(folder / "empty").flush();
  // XXH3-64 of nothing, from the xxHash specification.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string empty, ChecksumOfFile(folder / "empty"));
  EXPECT_EQ(HexEncode(AsBytes(empty)), "2d06800538d394c2");
  std::ofstream(folder / "long") << std::string(5 << 20, 'x');
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string checksum, ChecksumOfFile(folder / "long"));
  const std::string content(5 << 20, 'x');
  EXPECT_EQ(HexEncode(AsBytes(checksum)),
            absl::StrCat(absl::Hex(Xxh3_64(AsBytes(content)), absl::kZeroPad16)));
  EXPECT_THAT(ChecksumOfFile(folder / "absent"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
}

TEST(FileLockTest, ExcludesASecondHolderOfTheSameProcess) {
  TemporaryFolder folder;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto first, FileLock::Try(folder / "lock"));
  EXPECT_THAT(first, NotNull());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto second, FileLock::Try(folder / "lock"));
  EXPECT_THAT(second, IsNull());
  first.reset();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(second, FileLock::Try(folder / "lock"));
  EXPECT_THAT(second, NotNull());
}

TEST(RocksDbStatusTest, ConvertsWhatCallersActOn) {
  EXPECT_THAT(FromRocksDb(rocksdb::Status::OK(), "x"), IsOk());
  EXPECT_THAT(FromRocksDb(rocksdb::Status::NoSpace("/p/1.sst"), "write"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("write: "), HasSubstr("/p/1.sst"), HasSubstr("free space"))));
  EXPECT_THAT(FromRocksDb(rocksdb::Status::IOError("While appending", "File too large"), "write"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("File too large")));
  EXPECT_THAT(FromRocksDb(rocksdb::Status::Corruption("block checksum mismatch"), "read"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("mismatch")));
  EXPECT_THAT(FromRocksDb(rocksdb::Status::IOError("x"), "read"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("read: ")));
  EXPECT_THAT(FromRocksDb(rocksdb::Status::InvalidArgument("x"), "read"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("x")));
}

TEST(RocksDbOptionsTest, ValuesAreHandedOutWhereRocksDbReadThem) {
  const TemporaryFolder folder;
  rocksdb::Options options = SetDatabaseOptions(/*direct_reads=*/false);
  options.create_if_missing = true;
  const std::string value(100'000, 'v');
  rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options);
  ASSERT_TRUE(writer.Open(folder / "unit.sst").ok());
  ASSERT_TRUE(writer.Put("key", value).ok());
  ASSERT_TRUE(writer.Finish().ok());
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, folder / "db", &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  const auto cache = options.table_factory->GetOptions<rocksdb::BlockBasedTableOptions>()->block_cache;
  ASSERT_TRUE(db->IngestExternalFile({folder / "unit.sst"}, {}).ok());
  for (const bool verify_checksums : {true, false}) {
    rocksdb::PinnableSlice slice;
    ASSERT_TRUE(
        db->Get(RecordReadOptions(verify_checksums), db->DefaultColumnFamily(), "key", &slice).ok());
    EXPECT_TRUE(slice.IsPinned());
    EXPECT_EQ(slice.ToString(), value);
    // Kept for its reader, and not longer.
    EXPECT_GE(cache->GetPinnedUsage(), value.size());
    slice.Reset();
    EXPECT_LT(cache->GetUsage(), 1000u);
  }
}

TEST(CheckBlocksTest, PassesWhatWasWrittenAndNothingElse) {
  const TemporaryFolder folder;
  rocksdb::Options options = SetDatabaseOptions(/*direct_reads=*/false);
  rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options);
  const std::string path = folder / "unit.sst";
  const std::string value(300, 'v');
  ASSERT_TRUE(writer.Open(path).ok());
  ASSERT_TRUE(writer.Put("key", value).ok());
  ASSERT_TRUE(writer.Finish().ok());
  const auto read = [&](std::string* found) {
    rocksdb::SstFileReader reader(options);
    EXPECT_TRUE(reader.Open(path).ok());
    const std::unique_ptr<rocksdb::Iterator> entry(
        reader.NewIterator(RecordReadOptions(/*verify_checksums=*/false)));
    const CheckBlocks checks;
    entry->SeekToFirst();
    if (entry->Valid()) *found = entry->value().ToString();
    return entry->status();
  };
  std::string found;
  EXPECT_TRUE(read(&found).ok());
  EXPECT_EQ(found, value);
  // The block begins the file: lengths, key, value, the index of the block, how it is compressed, its checksum.
  const std::string whole = ReadFile(path).value();
  const size_t block_end = whole.find(value) + value.size() + 13;
  for (size_t at = 0; at < block_end; ++at) {
    std::string damaged = whole;
    damaged[at] ^= 0x40;
    std::ofstream(path, std::ios::binary) << damaged;
    EXPECT_TRUE(read(&found).IsCorruption()) << at;
  }
}

}  // namespace
}  // namespace afterimage
