// Pre-training on a small cache in a temporary folder.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_split.h"
#include "client/open_cache.h"
#include "core/base/files.h"
#include "core/base/stop_signal.h"
#include "core/identity/canonical_spec.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/small_world.h"
#include "trainer/pretrain/pretrainer.h"

namespace afterimage::trainer::testing {

// 24 pictures, a teacher of 3 levels on a grid of 4 x 4, steps of 8 samples: 4 epochs are 12 steps.
class PretrainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResetStopForTest();
    images_ = Path("images");
    teacher_ = Path("teacher.safetensors");
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  // Pictures, a teacher, and a cache of two view seeds at Path(name).
  void MakeCache(const std::string& name, TokenPolicy policy, Codec codec, bool pixels = true,
                 int num_undecodable = 0) {
    WriteImages(images_, {.num_undecodable = num_undecodable});
    WriteTeacher(teacher_);
    TeacherOptions options;
    options.weights = teacher_;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, TeacherRunner::Load(options));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::shared_ptr<const ImageSource> source, OpenImageSource(images_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto index, ImageIndex::Build(source, 1));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(Path(name), {.create = true}));
    ASSERT_THAT(FillCache(*cache.catalog, *teacher, *index, DescribeSet(*teacher, policy, codec, pixels), 2),
                afterimage::testing::IsOk());
  }

  PretrainOptions Options(const std::string& out) const {
    PretrainOptions options;
    options.out = Path(out);
    options.width = 16;
    options.depth = 3;
    options.heads = 2;
    options.loss_weights = "top2";
    options.input.loss_weights = "top2";
    options.batch_size = 8;
    options.epochs = 4;
    options.lr = 1e-3;
    options.num_threads = 1;
    return options;
  }
  PretrainOptions Cached(const std::string& out, const std::string& cache = "cache") const {
    PretrainOptions options = Options(out);
    options.input.cache = Path(cache);
    return options;
  }
  PretrainOptions OnLine(const std::string& out) const {
    PretrainOptions options = Options(out);
    options.input.teacher.weights = teacher_;
    options.input.images = images_;
    options.input.like = Path("cache");
    return options;
  }

  // What metrics.jsonl says, by step: losses exact to the bit.
  std::map<int, std::string> Losses(const std::string& out) const { return Column(out, "loss_hex"); }
  std::map<int, std::string> Digests(const std::string& out) const { return Column(out, "running_digest"); }

  std::map<int, std::string> Column(const std::string& out, const std::string& name) const {
    std::map<int, std::string> column;
    const auto text = ReadFile(Path(out) + "/metrics.jsonl");
    EXPECT_THAT(text.status(), afterimage::testing::IsOk());
    for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
      const Json json = Json::parse(line.begin(), line.end());
      if (json.contains(name))
        column[json["step"].get<int>()] =
            json[name].is_string() ? json[name].get<std::string>() : json[name].dump();
    }
    return column;
  }

  const afterimage::testing::TemporaryFolder folder_;
  std::string images_;
  std::string teacher_;
};

}  // namespace afterimage::trainer::testing
