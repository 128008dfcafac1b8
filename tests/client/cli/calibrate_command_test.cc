// afterimage calibrate, as a user runs it.
#include <filesystem>
#include <string>
#include <vector>

#include "client/open_cache.h"
#include "core/feature/profile_builder.h"
#include "core/identity/canonical_spec.h"
#include "gmock/gmock.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::FillSet;
using testing::Finished;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::MakeSyntheticDescription;
using testing::SyntheticImageKey;
using testing::TemporaryFolder;

class CalibrateCommandTest : public ::testing::Test {
 protected:
  // A set of `num_images` pictures, one of which cannot be decoded.
  void MakeSet(const SetDescription& description, uint64_t num_images, uint32_t num_view_seeds) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path(), {.create = true}));
    const Manifest manifest = testing::MakeSyntheticManifest(num_images);
    AFTERIMAGE_ASSERT_OK(cache.catalog->PutManifest(manifest));
    AFTERIMAGE_ASSERT_OK(cache.catalog->CreateSet(description));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    cache.catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), num_view_seeds,
                                 [](const RecordKey& key) { return key.image == SyntheticImageKey(2); }));
  }
  Finished Calibrate(std::vector<std::string> more) {
    std::vector<std::string> argv = {std::string(AFTERIMAGE_BINARY_DIR) + "/bin/afterimage", "calibrate",
                                     "--cache", path()};
    argv.insert(argv.end(), more.begin(), more.end());
    return testing::RunProgram(argv);
  }
  std::string path() const { return (folder_ / "cache").string(); }

  TemporaryFolder folder_;
};

TEST_F(CalibrateCommandTest, StoresTheProfileOfAllRecordsUnderItsName) {
  for (const bool pixels : {true, false}) {
    std::filesystem::remove_all(path());
    const SetDescription description = MakeSyntheticDescription({.pixels = pixels});
    MakeSet(description, 6, 2);
    const Finished finished = Calibrate({"--name", "calibrated"});
    ASSERT_EQ(finished.status, 0) << finished.Text();

    ProfileBuilder builder(description.set.feature_id, description.set.levels,
                           description.feature.geometry.width);
    for (uint64_t image = 0; image < 6; ++image) {
      for (uint32_t seed = 0; seed < 2; ++seed) {
        if (image == 2) continue;
        AFTERIMAGE_ASSERT_OK(
            builder.Add(testing::MakeSyntheticRecord(description, {SyntheticImageKey(image), seed})));
      }
    }
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile expected, builder.Finish());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stored, ResolveProfile(*cache.catalog, "calibrated"));
    EXPECT_EQ(stored->digest(), expected.digest());
    EXPECT_THAT(finished.out,
                AllOf(HasSubstr(expected.digest().Hex()), HasSubstr("10 records"), HasSubstr("NOTE"),
                      HasSubstr("i8x" + std::string(14, ' ') + "all" + std::string(8, ' ') + "1.0000"),
                      HasSubstr("for 6 images per view seed")));
  }
}

// What calibration measured is kept with the profile, and told again for the sets that are made with it.
TEST_F(CalibrateCommandTest, InfoShowsTheFiguresAgain) {
  MakeSet(MakeSyntheticDescription({.codec = Codec::kF32}), 20, 1);
  const Finished calibrated = Calibrate({"--name", "calibrated", "--json"});
  ASSERT_EQ(calibrated.status, 0) << calibrated.Text();
  const Json report = Json::parse(calibrated.out, nullptr, false);
  const auto of_i8x =
      std::ranges::find(report["codecs"], "i8x", [](const Json& one) { return one["codec"]; });
  ASSERT_NE(of_i8x, report["codecs"].end());

  const std::string program = std::string(AFTERIMAGE_BINARY_DIR) + "/bin/afterimage";
  const auto info = [&](std::vector<std::string> more) {
    std::vector<std::string> argv = {program, "info", "--cache", path()};
    argv.insert(argv.end(), more.begin(), more.end());
    return testing::RunProgram(argv);
  };
  const Json profile = Json::parse(info({"--profile", "calibrated", "--json"}).out, nullptr, false);
  EXPECT_EQ(profile["profile"], report["profile"]);
  EXPECT_EQ(profile["measured_records"], report["measured_records"]);
  EXPECT_EQ(profile["codecs"].size(), report["codecs"].size());
  EXPECT_EQ(profile["levels"].size(), 2u);
  for (const Json& level : profile["codecs"]["i8x"]) {
    const Json measured = (*of_i8x)["levels"][std::to_string(level["level"].get<int>())];
    for (const char* const what : {"bytes_per_value", "rmse", "largest_error", "worst_token_cosine"})
      EXPECT_EQ(level[what], measured[what]) << what;
  }
  EXPECT_THAT(info({"--profile", "calibrated"}).out,
              AllOf(HasSubstr("profile    " + report["profile"].get<std::string>()),
                    HasSubstr("channels wide in i4x to i6x"), HasSubstr("ezq16"), HasSubstr("worst cosine")));
  EXPECT_THAT(info({"--profile", "unheard-of"}).err, HasSubstr("unheard-of"));

  // Of the set that was calibrated on, which has no profile, nothing; of one made with it, that of its codec.
  EXPECT_THAT(info({}).out, ::testing::Not(HasSubstr("expected level")));
  const Finished recoded = testing::RunProgram(
      {program, "recode", "--cache", path(), "--codec", "i8x", "--profile", "calibrated", "--name", "small"});
  ASSERT_EQ(recoded.status, 0) << recoded.Text();
  const Json sets = Json::parse(info({"--set", "small", "--json"}).out, nullptr, false);
  EXPECT_EQ(sets[0]["expected"], profile["codecs"]["i8x"]);
  EXPECT_EQ(sets[0]["expected_from_records"], report["measured_records"]);
  EXPECT_THAT(info({"--set", "small"}).out,
              AllOf(HasSubstr("  expected level 3: RMSE "), HasSubstr("  error    level 3: RMSE ")));

  // A profile that is damaged is told, in the place where its figures would stand.
  const std::filesystem::path file =
      std::filesystem::path(path()) / "profiles" / report["profile"].get<std::string>();
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  const Finished damaged = info({"--set", "small"});
  EXPECT_EQ(damaged.status, 0) << damaged.Text();
  EXPECT_THAT(damaged.out,
              AllOf(HasSubstr("profile  cannot be read: "), HasSubstr("figures"), HasSubstr("records")));
}

TEST_F(CalibrateCommandTest, JsonTellsWhatWasMeasured) {
  MakeSet(MakeSyntheticDescription({.codec = Codec::kF32}), 300, 1);
  const Finished finished = Calibrate({"--json", "--samples", "40"});
  ASSERT_EQ(finished.status, 0) << finished.Text();
  const Json report = Json::parse(finished.out, nullptr, false);
  ASSERT_TRUE(report.is_object()) << finished.out;
  EXPECT_THAT(report["records"].get<int>(),
              ::testing::AnyOf(39, 40));  // the one that failed may have been chosen
  EXPECT_GT(report["measured_records"].get<int>(), 250);
  EXPECT_LT(report["measured_and_calibrated_records"].get<int>(), 40);
  ASSERT_EQ(report["codecs"].size(), std::size(kAllCodecs));
  EXPECT_TRUE(report["taken"].is_null());
  double bytes_before = 5;
  for (const char* const name : {"f32", "f16", "bf16", "i8x"}) {
    const auto of_codec =
        std::ranges::find(report["codecs"], name, [](const Json& one) { return one["codec"]; });
    ASSERT_NE(of_codec, report["codecs"].end());
    const Json all = (*of_codec)["all"];
    EXPECT_LE(all["bytes_per_value"].get<double>(), bytes_before);
    bytes_before = all["bytes_per_value"];
    EXPECT_EQ((*of_codec)["levels"].size(), 2u);
    const bool exact =
        std::string(name) == "f32" || std::string(name) == "f16";  // made-up values fit into f16
    EXPECT_EQ(all["rmse"].get<double>() == 0, exact) << name;
    EXPECT_LE(all["largest_error"].get<double>(), 0.15) << name;
  }
  EXPECT_LE(bytes_before, 1.005);
}

TEST_F(CalibrateCommandTest, SaysWhichCodecAnErrorOrASizeWouldTake) {
  MakeSet(MakeSyntheticDescription({.codec = Codec::kF32}), 30, 1);
  const Finished exact = Calibrate({"--max-rmse", "0.000001"});
  ASSERT_EQ(exact.status, 0) << exact.Text();
  EXPECT_THAT(exact.out, HasSubstr("<- taken"));
  const Finished coarse = Calibrate({"--max-rmse", "0.5", "--json"});
  ASSERT_EQ(coarse.status, 0) << coarse.Text();
  EXPECT_EQ(Json::parse(coarse.out, nullptr, false)["taken"], "ezq2");
  EXPECT_THAT(Calibrate({"--max-bytes", "2.5MB"}).out, HasSubstr("<- taken"));
  const Finished none = Calibrate({"--max-bytes", "1KB"});
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, AllOf(HasSubstr("at most 1"), HasSubstr("the smallest")));
}

TEST_F(CalibrateCommandTest, RefusesWhatCannotBe) {
  MakeSet(MakeSyntheticDescription({.codec = Codec::kBf16}), 3, 1);
  const Finished coarse = Calibrate({});
  EXPECT_EQ(coarse.status, 1);
  EXPECT_THAT(coarse.err, AllOf(HasSubstr("is of codec bf16"), HasSubstr("f16, lossless16 or f32")));
  MakeSet(MakeSyntheticDescription({.teacher = "second"}), 3, 1);
  EXPECT_THAT(Calibrate({}).err, HasSubstr("there are 2 sets"));
  EXPECT_EQ(Calibrate({"--from", "feed"}).status, 1);
  EXPECT_THAT(Calibrate({"--max-rmse", "nan"}).err, HasSubstr("--max-rmse is nan"));
  EXPECT_THAT(Calibrate({"--max-bytes", "a lot"}).err, HasSubstr("--max-bytes: 'a lot' is not a size"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(path()));
  const std::string second = MakeSyntheticDescription({.teacher = "second"}).set.Id().Hex();
  AFTERIMAGE_ASSERT_OK(cache.catalog->SetName("taken", Digest256(), false));
  const Finished name = Calibrate({"--from", second, "--name", "taken"});
  EXPECT_EQ(name.status, 1);
  EXPECT_THAT(name.err, HasSubstr("\"taken\" stands for"));
  EXPECT_THAT(cache.catalog->ListProfiles(), testing::IsOkAndHolds(::testing::IsEmpty()));
}

}  // namespace
}  // namespace afterimage
