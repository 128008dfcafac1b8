// `--miss compute`: what the cache lacks, or holds damaged, is computed by the trainer's own teacher, and
// nobody can tell it from a full cache.
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/identity/canonical_spec.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Arguments;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using testing::TeacherFile;
using testing::WriteImages;

namespace fs = std::filesystem;

class ComputeMissesTest : public ProgramsTest {
 protected:
  ComputeMissesTest() { WriteImages(images_, 32); }

  // "part" holds view seed 0 of a set, "full" view seeds 0 and 1 of the same.
  void MakeCaches(const Arguments& set) const {
    const Finished part = Precompute(Path("part"), set);
    ASSERT_EQ(part.status, 0) << part.Text();
    fs::copy(Path("part"), Path("full"), fs::copy_options::recursive);
    Arguments grown = set;
    grown.insert(grown.end(), {"--view-seeds", "2"});
    const Finished full = Precompute(Path("full"), grown);
    ASSERT_EQ(full.status, 0) << full.Text();
    ASSERT_EQ(Info(Path("part"))["set"], Info(Path("full"))["set"]);
  }
  Finished Compute(const std::string& cache, const std::string& out, Arguments more = {}) const {
    more.insert(more.end(), {"--miss", "compute", "--teacher", TeacherFile(), "--images", images_});
    return Pretrain(cache, out, more);
  }
  uint64_t ComputedSamples(const std::string& out) const {
    const absl::StatusOr<std::string> text = ReadFile(Path(out) + "/summary.json");
    return text.ok() ? Json::parse(*text).value("computed_samples", uint64_t{0}) : 0;
  }
  // Half of the steps, and all samples of each: every other epoch is of the view seed that is missing.
  void ExpectComputedInMetrics(const std::string& out) const {
    const absl::StatusOr<std::string> metrics = ReadFile(Path(out) + "/metrics.jsonl");
    ASSERT_TRUE(metrics.ok()) << metrics.status();
    size_t lines = 0;
    for (size_t at = 0; (at = metrics->find("\"computed\":16", at)) != std::string::npos; ++at) ++lines;
    EXPECT_EQ(lines, 4);
  }
  void ExpectEqualRuns(const Arguments& set) const {
    MakeCaches(set);
    const Finished full = Pretrain(Path("full"), "run-full", {"--images", images_});
    ASSERT_EQ(full.status, 0) << full.Text();
    const Server server(Path("part"));
    for (const std::string& cache : {Path("part"), server.address()}) {
      const std::string out = cache == Path("part") ? "run-folder" : "run-server";
      const Finished computed = Compute(cache, out, {"--view-seeds", "2"});
      ASSERT_EQ(computed.status, 0) << computed.Text();
      EXPECT_EQ(Losses(out), Losses("run-full"));
      EXPECT_THAT(computed.out, HasSubstr("64 samples computed that the cache lacks"));
      EXPECT_EQ(ComputedSamples(out), 64);
      ExpectComputedInMetrics(out);
    }
    EXPECT_EQ(Info(Path("part"))["records"], 32) << "nothing is written back";
  }
};

TEST_F(ComputeMissesTest, LossesAndDigestsAreThoseOfAFullCacheOfAllTokens) { ExpectEqualRuns({}); }

TEST_F(ComputeMissesTest, OfCodedVisibleTokensToo) {
  ExpectEqualRuns({"--codec", "i8x", "--tokens", "visible", "--masks", "2"});
}

TEST_F(ComputeMissesTest, WithoutStoredPixelsToo) { ExpectEqualRuns({"--codec", "f16", "--pixels", "none"}); }

TEST_F(ComputeMissesTest, ADamagedRecordIsComputedAgain) {
  ASSERT_EQ(Precompute(Path("cache")).status, 0);
  const Finished whole = Pretrain(Path("cache"), "whole");
  ASSERT_EQ(whole.status, 0) << whole.Text();
  for (const auto& entry : fs::recursive_directory_iterator(Path("cache"))) {
    if (entry.path().extension() != ".sst") continue;
    // The middle of the only table is inside a record.
    std::fstream table(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    const auto middle = static_cast<std::streamoff>(fs::file_size(entry.path()) / 2);
    table.seekg(middle);
    const char byte = static_cast<char>(table.get());
    table.seekp(middle);
    table.put(static_cast<char>(byte ^ 4));
  }
  EXPECT_THAT(Pretrain(Path("cache"), "fails").err, AllOf(HasSubstr("damaged"), HasSubstr("--miss compute")));
  const Finished computed = Compute(Path("cache"), "run");
  ASSERT_EQ(computed.status, 0) << computed.Text();
  EXPECT_EQ(Losses("run"), Losses("whole"));
  EXPECT_EQ(ComputedSamples("run"), 4) << "one in each epoch";
}

TEST_F(ComputeMissesTest, WhatDoesNotGoTogetherIsToldWithTheRemedy) {
  ASSERT_EQ(Precompute(Path("cache")).status, 0);
  EXPECT_THAT(Pretrain(Path("cache"), "run", {"--miss", "compute"}).err, HasSubstr("needs --cache ADDRESS"));
  EXPECT_THAT(Pretrain(Path("cache"), "run", {"--teacher", TeacherFile(), "--images", images_}).err,
              HasSubstr("both with --miss compute"));
  WriteImages(Path("others"), 8, 500);
  EXPECT_THAT(Pretrain(Path("cache"), "run",
                       {"--miss", "compute", "--teacher", TeacherFile(), "--images", Path("others")})
                  .err,
              AllOf(HasSubstr("--images has manifest"), HasSubstr("is read with manifest")));
  EXPECT_THAT(Compute(Path("cache"), "run", {"--teacher-eps", "1e-3"}).err,
              AllOf(HasSubstr("another teacher"), HasSubstr(Info(Path("cache"))["feature_id"])));
}

}  // namespace
}  // namespace afterimage
