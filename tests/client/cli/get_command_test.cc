// afterimage get, as a user runs it.
#include <cstring>
#include <string>
#include <vector>

#include "client/open_cache.h"
#include "core/feature/feature_block.h"
#include "core/tensors/safetensors.h"
#include "gmock/gmock.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using testing::Finished;
using ::testing::HasSubstr;
using testing::MakeSyntheticDescription;
using testing::SyntheticImageKey;

class GetCommandTest : public ::testing::Test {
 protected:
  void MakeSet(const SetDescription& description) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path(), {.create = true}));
    const Manifest manifest = testing::MakeSyntheticManifest(2);
    AFTERIMAGE_ASSERT_OK(cache.catalog->PutManifest(manifest));
    if (!description.set.profile_digest.IsZero()) {
      AFTERIMAGE_ASSERT_OK(cache.catalog->PutProfile(testing::MakeSyntheticProfile(description)));
    }
    AFTERIMAGE_ASSERT_OK(cache.catalog->CreateSet(description));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    cache.catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(testing::FillSet(set, manifest.digest(), 1));
  }
  Finished Get(std::vector<std::string> more) {
    std::vector<std::string> argv = {std::string(AFTERIMAGE_BINARY_DIR) + "/bin/afterimage",
                                     "get",
                                     "--cache",
                                     path(),
                                     "--key",
                                     key_.image.Hex(),
                                     "--out",
                                     out()};
    argv.insert(argv.end(), more.begin(), more.end());
    return testing::RunProgram(argv);
  }
  // Of a level, as written.
  std::vector<float> Written(uint32_t level) {
    const auto file = SafetensorsFile::Open(out());
    if (!file.ok()) return {};
    const ByteSpan bytes = (*file)->tensors().at("level." + std::to_string(level)).data;
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  std::string path() const { return (folder_ / "cache").string(); }
  std::string out() const { return (folder_ / "record.safetensors").string(); }

  const RecordKey key_ = {SyntheticImageKey(1), 0};
  testing::TemporaryFolder folder_;
};

TEST_F(GetCommandTest, WritesWhatIsStoredUnlessAnEncodingIsAskedFor) {
  const SetDescription description = MakeSyntheticDescription({.wire_profile = true});
  MakeSet(description);
  const FeatureRecord stored = testing::MakeSyntheticRecord(description, key_);
  const Finished as_stored = Get({});
  ASSERT_EQ(as_stored.status, 0) << as_stored.Text();
  EXPECT_THAT(as_stored.out, HasSubstr("codec f16"));
  for (const LevelFeatures& level : stored.levels) EXPECT_EQ(Written(level.level), level.values);

  const Finished coarse = Get({"--wire-encoding", "i4x"});
  ASSERT_EQ(coarse.status, 0) << coarse.Text();
  EXPECT_THAT(coarse.out, HasSubstr("codec i4x"));
  // What a set of that codec would hold of what is stored.
  const FeatureProfile profile = testing::MakeSyntheticProfile(description);
  const std::string bytes = EncodeFeatureBlock(stored, Codec::kI4x, &profile).value();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes), &profile));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord expected, block.ToRecord());
  for (size_t i = 0; i < stored.levels.size(); ++i) {
    EXPECT_NE(expected.levels[i].values, stored.levels[i].values);
    EXPECT_EQ(Written(expected.levels[i].level), expected.levels[i].values);
  }
}

TEST_F(GetCommandTest, AnEncodingWithAProfileNeedsASetThatNamesOne) {
  MakeSet(MakeSyntheticDescription());
  const Finished refused = Get({"--wire-encoding", "i8x"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("names no profile: make one"));
  const Finished half = Get({"--wire-encoding", "bf16"});
  EXPECT_EQ(half.status, 0) << half.Text();
  EXPECT_THAT(half.out, HasSubstr("codec bf16"));
  EXPECT_THAT(Get({"--wire-encoding", "ezq4"}).err, HasSubstr("ezq4 not in {stored,f32,f16,bf16"));
}

}  // namespace
}  // namespace afterimage
