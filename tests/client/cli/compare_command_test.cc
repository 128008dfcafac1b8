// afterimage compare, as a user runs it.
#include <string>
#include <vector>

#include "client/open_cache.h"
#include "core/identity/canonical_spec.h"
#include "gmock/gmock.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::MakeSyntheticDescription;

class CompareCommandTest : public ::testing::Test {
 protected:
  std::string MakeSet(const SetDescription& description, uint64_t num_images) {
    EXPECT_THAT(Fill(description, num_images), IsOk());
    return description.set.Id().Hex();
  }
  testing::Finished Compare(std::vector<std::string> more) {
    std::vector<std::string> argv = {std::string(AFTERIMAGE_BINARY_DIR) + "/bin/afterimage", "compare",
                                     "--cache", path()};
    argv.insert(argv.end(), more.begin(), more.end());
    return testing::RunProgram(argv);
  }
  std::string path() const { return (folder_ / "cache").string(); }

  testing::TemporaryFolder folder_;

 private:
  absl::Status Fill(const SetDescription& description, uint64_t num_images) {
    absl::StatusOr<OpenedCache> cache = OpenCache(path(), {.create = true});
    if (!cache.ok()) return cache.status();
    const Manifest manifest = testing::MakeSyntheticManifest(num_images);
    if (absl::Status put = cache->catalog->PutManifest(manifest); !put.ok()) return put;
    if (NeedsProfile(description.set.codec)) {
      if (absl::Status put = cache->catalog->PutProfile(testing::MakeSyntheticProfile(description));
          !put.ok())
        return put;
    }
    if (absl::Status created = cache->catalog->CreateSet(description).status(); !created.ok()) return created;
    absl::StatusOr<OpenedSet> set = cache->catalog->OpenSet(description.set.Id(), OpenMode::kContribute);
    if (!set.ok()) return set.status();
    return testing::FillSet(*set, manifest.digest(), 1);
  }
};

std::vector<Json> Lines(const std::string& text) {
  std::vector<Json> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    lines.push_back(Json::parse(text.substr(begin, end - begin), nullptr, false));
    begin = end + 1;
  }
  return lines;
}

TEST_F(CompareCommandTest, ACoarserCodecOfTheSameFeaturesShowsItsError) {
  const std::string exact = MakeSet(MakeSyntheticDescription({.codec = Codec::kF32}), 12);
  const std::string coarse =
      MakeSet(MakeSyntheticDescription(
                  {.token_policy = TokenPolicy::kVisible, .mask = {.num_visible = 5}, .codec = Codec::kI4x}),
              8);
  const testing::Finished same = Compare({exact, exact, "--json"});
  ASSERT_EQ(same.status, 0) << same.Text();
  for (const Json& level : Lines(same.out)) {
    EXPECT_EQ(level["rmse"], 0.0);
    EXPECT_EQ(level["records"], 12);
    EXPECT_NEAR(level["cka"].get<double>(), 1, 1e-9);
  }
  const testing::Finished other = Compare({exact, coarse, "--json"});
  ASSERT_EQ(other.status, 0) << other.Text();
  const std::vector<Json> levels = Lines(other.out);
  ASSERT_EQ(levels.size(), 2u);
  for (const Json& level : levels) {
    EXPECT_EQ(level["records"], 8);
    EXPECT_GT(level["rmse"].get<double>(), 0.001);
    EXPECT_LE(level["largest_error"].get<double>(), 0.5);
    EXPECT_GT(level["cka"].get<double>(), 0.5);
    EXPECT_LT(level["cka"].get<double>(), 1);
  }
  EXPECT_THAT(Compare({exact, coarse}).out, HasSubstr("8 records in common"));
}

TEST_F(CompareCommandTest, OfDifferentTeachersOnlyTheAlignmentIsTold) {
  // Made-up records have the same views where they have as many numbers: 2 (24 + 2) a token, and 50 + 2.
  const std::string narrow = MakeSet(MakeSyntheticDescription({.width = 24, .codec = Codec::kF32}), 6);
  const std::string wide = MakeSet(
      MakeSyntheticDescription({.levels = {4}, .width = 50, .codec = Codec::kF32, .teacher = "other"}), 6);
  const testing::Finished finished = Compare({narrow, wide, "--json"});
  ASSERT_EQ(finished.status, 0) << finished.Text();
  const std::vector<Json> levels = Lines(finished.out);
  ASSERT_EQ(levels.size(), 1u);
  EXPECT_TRUE(levels[0].contains("cka"));
  EXPECT_EQ(levels[0]["level_a"], 4);
  EXPECT_FALSE(levels[0].contains("rmse"));
}

TEST_F(CompareCommandTest, RecordsOfOtherViewsAreLeftOut) {
  const std::string a = MakeSet(MakeSyntheticDescription({.width = 24, .codec = Codec::kF32}), 6);
  const std::string b =
      MakeSet(MakeSyntheticDescription({.width = 30, .codec = Codec::kF32, .teacher = "other"}), 6);
  const testing::Finished finished = Compare({a, b});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("6 are of other views"));
}

TEST_F(CompareCommandTest, SetsWithNothingInCommonAreRefused) {
  const std::string a = MakeSet(MakeSyntheticDescription({.levels = {3}, .codec = Codec::kF32}), 4);
  const std::string b = MakeSet(MakeSyntheticDescription({.levels = {4}, .codec = Codec::kF32}), 4);
  const testing::Finished levels = Compare({a, b});
  EXPECT_EQ(levels.status, 1);
  EXPECT_THAT(levels.err, HasSubstr("no levels in common"));
  EXPECT_EQ(Compare({a, "feedfeed"}).status, 1);
}

}  // namespace
}  // namespace afterimage
