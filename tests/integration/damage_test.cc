// A bit that flips on the disk.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using ::testing::SizeIs;
using testing::WriteImages;

class DamageTest : public ProgramsTest {
 protected:
  void SetUp() override {
    WriteImages(images_, 32);
    const Finished precompute = Precompute(Path("cache"));
    ASSERT_EQ(precompute.status, 0) << precompute.Text();
    // The middle of the only table is inside a record: 32 records of 100 kB each, which are all there is in
    // it.
    std::vector<std::filesystem::path> tables;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(Path("cache"))) {
      if (entry.path().extension() == ".sst") tables.push_back(entry.path());
    }
    ASSERT_THAT(tables, SizeIs(1));
    std::fstream table(tables[0], std::ios::in | std::ios::out | std::ios::binary);
    const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(tables[0]) / 2);
    table.seekg(middle);
    const char byte = static_cast<char>(table.get());
    table.seekp(middle);
    table.put(static_cast<char>(byte ^ 4));
  }
  // "<key>/<seed>" of the one damaged record, as verify names it.
  std::string DamagedRecord(const std::string& cache) const {
    const Json counts = Verify(cache);
    EXPECT_EQ(counts["ok"], 31) << counts.dump();
    EXPECT_EQ(counts["damaged"], 1);
    const std::string text = counts["damage"][0].get<std::string>();
    const size_t slash = text.find("/0");
    EXPECT_NE(slash, std::string::npos) << text;
    return text.substr(slash - 32, 34);
  }
};

TEST_F(DamageTest, VerifyNamesTheRecordInTheFolderAndThroughAServer) {
  const std::string key = DamagedRecord(Path("cache"));
  const Finished verify = Afterimage({"verify", "--cache", Path("cache")});
  EXPECT_EQ(verify.status, 1);
  EXPECT_THAT(verify.out, AllOf(HasSubstr("31 OK"), HasSubstr("1 damaged"), HasSubstr(key)));
  Server server(Path("cache"));
  EXPECT_EQ(DamagedRecord(server.address()), key);
}

TEST_F(DamageTest, GetRefusesThatRecordAndServesAnother) {
  const std::string damaged = DamagedRecord(Path("cache")).substr(0, 32);
  Server server(Path("cache"));
  for (const std::string& cache : {Path("cache"), server.address()}) {
    const Finished get = Afterimage({"get", "--cache", cache, "--key", damaged, "--out", Path("record")});
    EXPECT_EQ(get.status, 1);
    EXPECT_THAT(get.err, HasSubstr(damaged));
    EXPECT_FALSE(std::filesystem::exists(Path("record")));
    int served = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(images_)) {
      if (!entry.is_regular_file()) continue;
      served += Afterimage({"get", "--cache", cache, "--image", entry.path().string()}).status == 0;
      if (served == 3) break;
    }
    EXPECT_EQ(served, 3);
  }
}

TEST_F(DamageTest, VerifyRepairHasThatRecordComputedAgain) {
  const std::string key = DamagedRecord(Path("cache"));
  const Finished repair = Afterimage({"verify", "--cache", Path("cache"), "--repair"});
  EXPECT_EQ(repair.status, 0) << repair.Text();
  EXPECT_THAT(repair.out, AllOf(HasSubstr(key), HasSubstr("computes these records again")));
  const Finished precompute = Precompute(Path("cache"));
  ASSERT_EQ(precompute.status, 0) << precompute.Text();
  EXPECT_THAT(precompute.out, HasSubstr("\"records\":1,"));  // only that one
  const Json counts = Verify(Path("cache"));
  EXPECT_EQ(counts["ok"], 32) << counts.dump();
  EXPECT_EQ(counts["damaged"], 0);
}

TEST_F(DamageTest, TrainingStopsWithTheKeyOrLeavesTheRecordOut) {
  const std::string key = DamagedRecord(Path("cache"));
  Server server(Path("cache"));
  for (const auto& [cache, name] :
       {std::pair{Path("cache"), "folder"}, std::pair{server.address(), "server"}}) {
    const Finished stopped = Pretrain(cache, absl::StrCat(name, "-fail"));
    EXPECT_EQ(stopped.status, 1) << stopped.Text();
    EXPECT_THAT(stopped.err, HasSubstr(key));
    const Finished skipped = Pretrain(cache, absl::StrCat(name, "-skip"), {"--miss", "skip"});
    EXPECT_EQ(skipped.status, 0) << skipped.Text();
    EXPECT_THAT(skipped.out, HasSubstr("4 of absent records left out"));  // once in each of 4 epochs
  }
  EXPECT_EQ(Losses("folder-skip"), Losses("server-skip"));
}

}  // namespace
}  // namespace afterimage
