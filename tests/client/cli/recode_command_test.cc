// afterimage recode, as a user runs it.
#include <signal.h>

#include <string>
#include <vector>

#include "client/open_cache.h"
#include "core/feature/feature_block.h"
#include "gmock/gmock.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Finished;
using ::testing::HasSubstr;
using testing::IsOkAndHolds;
using testing::MakeSyntheticBlock;
using testing::MakeSyntheticDescription;
using testing::SyntheticImageKey;
using testing::TemporaryFolder;

class RecodeCommandTest : public ::testing::Test {
 protected:
  void MakeSource(uint64_t num_images) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path(), {.create = true}));
    const Manifest manifest = testing::MakeSyntheticManifest(num_images);
    AFTERIMAGE_ASSERT_OK(cache.catalog->PutManifest(manifest));
    AFTERIMAGE_ASSERT_OK(cache.catalog->CreateSet(source_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    cache.catalog->OpenSet(source_.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(testing::FillSet(
        set, manifest.digest(), 2, [](const RecordKey& key) { return key.image == SyntheticImageKey(2); }));
  }
  std::vector<std::string> Command(std::vector<std::string> more) {
    std::vector<std::string> argv = {std::string(AFTERIMAGE_BINARY_DIR) + "/bin/afterimage", "recode",
                                     "--cache", path()};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }
  Finished Recode(std::vector<std::string> more) { return testing::RunProgram(Command(std::move(more))); }
  std::string path() const { return (folder_ / "cache").string(); }

  const SetDescription source_ = MakeSyntheticDescription({.codec = Codec::kF32});
  TemporaryFolder folder_;
};

TEST_F(RecodeCommandTest, TheNewSetHoldsWhatItsCodecMakesOfTheOld) {
  MakeSource(6);
  const std::string source = source_.set.Id().Hex();
  for (const std::string name : {"i8x", "ezq:66"}) {
    SCOPED_TRACE(name);
    // The profile that the made-up set of this codec names.
    const SetDescription target = MakeSyntheticDescription({.codec = ParseCodec(name).value()});
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path()));
    AFTERIMAGE_ASSERT_OK(cache.catalog->PutProfile(testing::MakeSyntheticProfile(target)));
    const std::vector<std::string> flags = {"--from", source,   "--codec",
                                            name,     "--name", "small-" + name.substr(0, 3)};
    const Finished finished = Recode(flags);
    ASSERT_EQ(finished.status, 0) << finished.Text();
    EXPECT_THAT(finished.out, AllOf(HasSubstr(target.set.Id().Hex()), HasSubstr("12 records (2 failed)")));

    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetSummary small, ResolveSet(*cache.catalog, flags.back()));
    EXPECT_EQ(small.id, target.set.Id());
    EXPECT_EQ(small.num_records, 10u);
    EXPECT_EQ(small.num_failed, 2u);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto failures, cache.catalog->ListFailures(small.id, 10));
    ASSERT_EQ(failures.size(), 2u);
    EXPECT_THAT(failures[0].reason,
                ::testing::Not(HasSubstr("record " + failures[0].key.ToString() + ": record")));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, cache.catalog->OpenSet(small.id, OpenMode::kRead));
    for (const uint32_t seed : {0u, 1u}) {
      const RecordKey key = {SyntheticImageKey(4), seed};
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes bytes, ReadOne(*set.store, key));
      EXPECT_EQ(std::string(bytes.bytes.begin(), bytes.bytes.end()), MakeSyntheticBlock(target, key));
    }
    // Again: nothing is left to do.
    const Finished again = Recode(flags);
    EXPECT_EQ(again.status, 0) << again.Text();
    EXPECT_THAT(again.out, HasSubstr("0 records"));
  }
  EXPECT_THAT(Recode({"--from", source, "--codec", "f32"}).err, HasSubstr("itself"));
}

TEST_F(RecodeCommandTest, KeepsFewerLevelsAndTheVisibleTokens) {
  MakeSource(4);
  const Finished finished = Recode({"--codec", "f16", "--levels", "4", "--tokens", "visible", "--mask-ratio",
                                    "0.7", "--mask-seed", "9", "--pixels", "none", "--name", "few"});
  ASSERT_EQ(finished.status, 0) << finished.Text();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetSummary few, ResolveSet(*cache.catalog, "few"));
  const SetSpec& spec = few.description.set;
  EXPECT_EQ(spec.mask.num_visible, NumVisible(16, 0.7));
  const SetDescription expected =
      MakeSyntheticDescription({.levels = {3, 4}, .token_policy = TokenPolicy::kVisible, .mask = spec.mask});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, cache.catalog->OpenSet(few.id, OpenMode::kRead));
  const RecordKey key = {SyntheticImageKey(1), 1};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes bytes, ReadOne(*set.store, key));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(bytes.bytes));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
  const FeatureRecord whole = testing::MakeSyntheticRecord(expected, key);
  EXPECT_EQ(record.masks, whole.masks);
  EXPECT_EQ(record.tokens, whole.tokens);
  ASSERT_EQ(record.levels.size(), 1u);
  EXPECT_EQ(record.levels[0].values, whole.levels[1].values);
  EXPECT_TRUE(record.pixels.empty());
}

// There and back: the bytes of the source.
TEST_F(RecodeCommandTest, PacksPixelsAndUnpacksThem) {
  MakeSource(4);
  const Finished packed = Recode({"--codec", "f32", "--pixels", "packed", "--name", "packed"});
  ASSERT_EQ(packed.status, 0) << packed.Text();
  const Finished raw = Recode({"--from", "packed", "--codec", "f32", "--pixels", "raw"});
  EXPECT_EQ(raw.status, 0) << raw.Text();
  EXPECT_THAT(raw.out, HasSubstr(source_.set.Id().Hex()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetSummary summary, ResolveSet(*cache.catalog, "packed"));
  EXPECT_EQ(PixelsName(summary.description.set), "packed");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, cache.catalog->OpenSet(summary.id, OpenMode::kRead));
  const RecordKey key = {SyntheticImageKey(1), 1};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes bytes, ReadOne(*set.store, key));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(bytes.bytes));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord record, block.ToRecord());
  EXPECT_EQ(record.pixels, testing::MakeSyntheticRecord(source_, key).pixels);
}

TEST_F(RecodeCommandTest, RefusesWhatCannotBe) {
  MakeSource(3);
  EXPECT_THAT(Recode({"--codec", "i8x"}).err, HasSubstr("there is no profile yet"));
  EXPECT_THAT(Recode({"--codec", "f16", "--profile", "x"}).err, HasSubstr("profile"));
  EXPECT_THAT(Recode({"--codec", "f16", "--levels", "1,4"}).err, HasSubstr("the source stores 3,4"));
  EXPECT_THAT(Recode({"--codec", "f17"}).err,
              HasSubstr("codec \"f17\" is unknown; known are: f32, f16, bf16"));
  const Finished more = Recode({"--codec", "f16", "--view-seeds", "3"});
  EXPECT_EQ(more.status, 1);
  EXPECT_THAT(more.err, AllOf(HasSubstr("is not in the source yet"), HasSubstr("--view-seeds")));
}

TEST_F(RecodeCommandTest, AStoppedRunGoesOnWhereItWas) {
  MakeSource(400);
  testing::ChildProcess process(Command({"--codec", "bf16", "--json", "--name", "coarse"}));
  ASSERT_TRUE(process.WaitUntilItCatches(SIGTERM));
  process.Signal(SIGTERM);
  const Finished stopped = process.Wait();
  if (stopped.status == 0) GTEST_SKIP() << "it was done before the signal came";
  EXPECT_EQ(stopped.status, 143) << stopped.Text();
  EXPECT_THAT(stopped.err, HasSubstr("run the same command again"));
  const Finished finished = Recode({"--from", source_.set.Id().Hex(), "--codec", "bf16"});
  ASSERT_EQ(finished.status, 0) << finished.Text();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetSummary coarse, ResolveSet(*cache.catalog, "coarse"));
  EXPECT_EQ(coarse.num_records + coarse.num_failed, 800u);
}

}  // namespace
}  // namespace afterimage
