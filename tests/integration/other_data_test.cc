// Features, orders and formats that are not those that were asked for: told with both values, and nothing is
// read.
#include <filesystem>
#include <fstream>
#include <map>
#include <vector>

#include "core/base/files.h"
#include "core/tensors/safetensors.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Arguments;
using testing::Finished;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ProgramsTest;
using testing::RunProgram;
using testing::Server;
using testing::TeacherFile;
using testing::WriteImages;

class OtherDataTest : public ProgramsTest {
 protected:
  void SetUp() override {
    WriteImages(images_, 32);
    const Finished precompute = Precompute(Path("cache"));
    ASSERT_EQ(precompute.status, 0) << precompute.Text();
  }
  std::string FeatureId(const std::string& cache) const {
    return Info(cache)["feature_id"].get<std::string>();
  }
  // The committed teacher with one number changed.
  std::string OtherTeacher() const {
    const auto teacher = SafetensorsFile::Open(TeacherFile());
    EXPECT_THAT(teacher, testing::IsOk());
    std::map<std::string, TensorView> tensors = (*teacher)->tensors();
    TensorView& bias = tensors.at("norm.bias");
    std::vector<uint8_t> bytes(bias.data.begin(), bias.data.end());
    bytes[0] ^= 1;
    bias.data = bytes;
    EXPECT_THAT(WriteSafetensors(Path("other.safetensors"), tensors, (*teacher)->metadata()),
                testing::IsOk());
    return Path("other.safetensors");
  }
  void ReplaceIn(const std::string& path, const std::string& before, const std::string& after) const {
    absl::StatusOr<std::string> text = ReadFile(path);
    ASSERT_THAT(text, testing::IsOk());
    const size_t at = text->find(before);
    ASSERT_NE(at, std::string::npos) << *text;
    std::ofstream(path, std::ios::binary) << text->replace(at, before.size(), after);
  }
};

TEST_F(OtherDataTest, ALiveTeacherOfAnotherFeatureIdIsRefusedWithBothIds) {
  const std::string other = OtherTeacher();
  ASSERT_EQ(Precompute(Path("other-cache"), {"--teacher", other}).status, 0);
  ASSERT_NE(FeatureId(Path("cache")), FeatureId(Path("other-cache")));
  const Finished train =
      RunProgram(PretrainCommand({"--teacher", other, "--images", images_, "--like", Path("cache")}, "run"));
  EXPECT_EQ(train.status, 1) << train.Text();
  EXPECT_THAT(train.err,
              AllOf(HasSubstr(FeatureId(Path("cache"))), HasSubstr(FeatureId(Path("other-cache")))));
  EXPECT_THAT(Losses("run"), IsEmpty());
}

TEST_F(OtherDataTest, ARunGoesOnWithItsOwnFeaturesOnly) {
  ASSERT_EQ(Precompute(Path("other-cache"), {"--teacher", OtherTeacher()}).status, 0);
  ASSERT_EQ(Pretrain(Path("cache"), "run", {"--epochs", "4", "--steps", "4"}).status, 0);
  const auto before = Losses("run");
  Server server(Path("other-cache"));
  for (const std::string& cache : {Path("other-cache"), server.address()}) {
    const Finished train = Pretrain(cache, "run");
    EXPECT_EQ(train.status, 1) << train.Text();
    EXPECT_THAT(train.err, AllOf(HasSubstr(FeatureId(Path("cache"))),
                                 HasSubstr(FeatureId(Path("other-cache"))), HasSubstr(Path("run"))));
    EXPECT_EQ(Losses("run"), before);
  }
}

TEST_F(OtherDataTest, AnOrderOfAnotherManifestIsRefusedWithBoth) {
  const std::string manifest = Info(Path("cache"))["manifests"][0].get<std::string>();
  WriteImages(Path("more/images"), 40);
  ASSERT_EQ(Precompute(Path("other-cache"), {"--images", Path("more/images")}).status, 0);
  const std::string other = Info(Path("other-cache"))["manifests"][0].get<std::string>();
  ASSERT_NE(manifest, other);
  ASSERT_EQ(FeatureId(Path("cache")), FeatureId(Path("other-cache")));

  const Finished live = RunProgram(PretrainCommand(
      {"--teacher", TeacherFile(), "--images", Path("more/images"), "--like", Path("cache")}, "run"));
  EXPECT_EQ(live.status, 1) << live.Text();
  EXPECT_THAT(live.err, AllOf(HasSubstr(manifest), HasSubstr(other)));

  ASSERT_EQ(Pretrain(Path("cache"), "run", {"--steps", "4"}).status, 0);
  const Finished resumed = Pretrain(Path("other-cache"), "run");
  EXPECT_EQ(resumed.status, 1) << resumed.Text();
  EXPECT_THAT(resumed.err, AllOf(HasSubstr(manifest), HasSubstr(other)));
}

TEST_F(OtherDataTest, ACacheOfAnotherFormatVersionIsRefusedWithBothVersions) {
  ReplaceIn(Path("cache/CACHE"), "\"version\":2", "\"version\":7");
  for (const Finished& finished :
       {Afterimage({"info", "--cache", Path("cache")}), Pretrain(Path("cache"), "run"),
        Precompute(Path("cache"), {"--quiet"}),
        RunProgram(Command("afterimage-server", {"--cache", Path("cache"), "--listen", "127.0.0.1:0"}))}) {
    EXPECT_EQ(finished.status, 1) << finished.Text();
    EXPECT_THAT(finished.err, AllOf(HasSubstr("version 7"), HasSubstr("version 2"), HasSubstr(Path("cache"))));
  }
}

TEST_F(OtherDataTest, ASetOfAnotherFormatVersionIsRefusedWithBothVersions) {
  const std::string id = Info(Path("cache"))["set"].get<std::string>();
  const std::string spec = Path("cache/sets/" + id + "/spec.json");
  ReplaceIn(spec, "\"version\":1", "\"version\":7");
  for (const Finished& finished :
       {Afterimage({"info", "--cache", Path("cache")}), Afterimage({"verify", "--cache", Path("cache")}),
        Pretrain(Path("cache"), "run"), Precompute(Path("cache"), {"--quiet"})}) {
    EXPECT_EQ(finished.status, 1) << finished.Text();
    EXPECT_THAT(finished.err, AllOf(HasSubstr("version 7"), HasSubstr("1")));
  }
}

}  // namespace
}  // namespace afterimage
