// TorchScript teachers from archives that the tests write themselves.
#include "core/vit/torchscript_teacher.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/vit/torchscript_description.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::afterimage::testing::LargestDifference;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kSize = 16, kGrid = 4, kWidth = 6;

// A convolution whose map is the only level: of a CNN.
constexpr char kMap[] = R"(
def forward(self, x):
    return torch.relu(torch.conv2d(x, self.w, None, [4, 4]))
)";
// A class token and importance.
constexpr char kTokens[] = R"(
def forward(self, x):
    rows = torch.transpose(torch.flatten(torch.conv2d(x, self.w, None, [4, 4]), 2), 1, 2)
    first = torch.cat([torch.sum(rows, 1, True), rows], 1)
    return {"second": torch.relu(first), "first": first, "importance": torch.sum(torch.abs(rows), 2)}
)";

std::string Described(const std::string& levels, const std::string& more = "") {
  return absl::StrCat(
      R"({"size": 16, "grid": 4, "mean": [0.5, 0.5, 0.5], "std": ["0.25", 0.5, 1], "levels": )", levels,
      more.empty() ? R"(, "class_token": false)" : more, "}");
}
const char* const kTokensDescribed = R"(, "class_token": true, "importance": true)";

std::vector<View> RandomViews(int64_t count) {
  at::manual_seed(9);
  std::vector<View> views;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor pixels = at::randint(0, 256, {3 * kSize * kSize}, at::kByte);
    View view;
    view.pixels = {
        kSize, kSize, {pixels.const_data_ptr<uint8_t>(), pixels.const_data_ptr<uint8_t>() + pixels.numel()}};
    views.push_back(std::move(view));
  }
  return views;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

at::Tensor Rows(const std::vector<float>& values, int64_t rows) {
  return at::from_blob(const_cast<float*>(values.data()), {rows, kWidth}, at::kFloat).clone();
}

class TorchScriptTeacherTest : public ::testing::Test {
 protected:
  TorchScriptTeacherTest() {
    at::manual_seed(3);
    weight_ = at::randn({kWidth, 3, 4, 4}) * 0.2;
    options_.weights = Path("teacher.pt");
    options_.micro_batch = 4;
  }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  void Save(const std::string& code, const std::string& name = "teacher.pt") const {
    torch::jit::Module module("teacher");
    module.register_buffer("w", weight_);
    module.define(code);
    module.save(Path(name));
  }
  void Describe(const std::string& text) const {
    AFTERIMAGE_ASSERT_OK(WriteFileAtomically(Path("teacher.json"), text));
  }
  auto Load() const { return TeacherRunner::Load(options_); }
  auto LoadOf(const std::string& code, const std::string& description) const {
    Save(code);
    Describe(description);
    return Load();
  }
  void ExpectRefused(const std::string& code, const std::string& description,
                     const std::string& message) const {
    EXPECT_THAT(LoadOf(code, description), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    AllOf(HasSubstr("teacher."), HasSubstr(message))));
  }
  at::Tensor Normalized(const View& view) const {
    const at::Tensor pixels = at::tensor(at::ArrayRef<uint8_t>(view.pixels.pixels), at::kByte)
                                  .view({kSize, kSize, 3})
                                  .permute({2, 0, 1})
                                  .to(at::kDouble);
    return ((pixels / 255 - 0.5) / at::tensor({0.25, 0.5, 1.0}, at::kDouble).view({3, 1, 1})).unsqueeze(0);
  }

  const TemporaryFolder folder_;
  at::Tensor weight_;
  TeacherOptions options_;
};

TEST_F(TorchScriptTeacherTest, AMapBecomesRowsUnderTheMeanOfItsPatches) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner, LoadOf(kMap, Described(R"(["map"])")));
  EXPECT_EQ(runner->geometry(), (TeacherGeometry{.num_levels = 1, .width = kWidth, .grid = kGrid}));
  EXPECT_EQ(runner->view_size(), kSize);
  const std::vector<View> views = RandomViews(1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto records, runner->Run(views, std::vector<uint32_t>{1}));
  const FeatureRecord& record = records[0];
  EXPECT_EQ(record.importance, std::vector<float>(16, 1.0f / 16));
  const at::Tensor map =
      at::relu(at::conv2d(Normalized(views[0]), weight_.to(at::kDouble), {}, at::IntArrayRef({4, 4})));
  const at::Tensor patches = map.flatten(2).transpose(1, 2)[0];
  const at::Tensor rows = at::cat({patches.mean(0, true), patches}, 0);
  const at::Tensor wanted = at::layer_norm(rows, {kWidth}, {}, {}, kNormalizationEps);
  ASSERT_EQ(record.levels.size(), 1u);
  EXPECT_LE(LargestDifference(Rows(record.levels[0].values, 17), wanted), 1e-5);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto embedding, runner->Embed(views));
  EXPECT_LE(LargestDifference(at::tensor(at::ArrayRef<float>(embedding)).view({2, kWidth}),
                              at::stack({rows[0], rows[0]})),
            1e-5);
}

TEST_F(TorchScriptTeacherTest, ADictionaryGivesLevelsByNameAndImportance) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner,
                                  LoadOf(kTokens, Described(R"(["first", "second"])", kTokensDescribed)));
  const std::vector<View> views = RandomViews(1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto records, runner->Run(views, std::vector<uint32_t>{1, 2}));
  const at::Tensor rows =
      at::conv2d(Normalized(views[0]), weight_.to(at::kDouble), {}, at::IntArrayRef({4, 4}))
          .flatten(2)
          .transpose(1, 2)[0];
  const at::Tensor first = at::cat({rows.sum(0, true), rows}, 0);
  const auto normalized = [](const at::Tensor& x) {
    return at::layer_norm(x, {kWidth}, {}, {}, kNormalizationEps);
  };
  EXPECT_LE(LargestDifference(Rows(records[0].levels[0].values, 17), normalized(first)), 1e-5);
  EXPECT_LE(LargestDifference(Rows(records[0].levels[1].values, 17), normalized(at::relu(first))), 1e-5);
  EXPECT_LE(LargestDifference(at::tensor(at::ArrayRef<float>(records[0].importance)), rows.abs().sum(1)),
            1e-5);
}

TEST_F(TorchScriptTeacherTest, TuplesListsAndSingleTensorsComeInOrder) {
  const std::string two = Described(R"(["a", "b"])");
  const std::string map = "torch.conv2d(x, self.w, None, [4, 4])";
  for (const std::string& code :
       {absl::StrCat("def forward(self, x):\n    return (", map, ", torch.relu(", map, "))\n"),
        absl::StrCat("def forward(self, x):\n    return [", map, ", torch.relu(", map, ")]\n")}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner, LoadOf(code, two));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto records,
                                    runner->Run(RandomViews(1), std::vector<uint32_t>{1, 2}));
    EXPECT_FALSE(SameBits(records[0].levels[0].values, records[0].levels[1].values));
  }
}

TEST_F(TorchScriptTeacherTest, BitsDependNeitherOnPositionNorOnNeighbours) {
  for (const auto& [code, description] :
       {std::pair{std::string(kMap), Described(R"(["map"])")},
        {std::string(kTokens), Described(R"(["first", "second"])", kTokensDescribed)}}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner, LoadOf(code, description));
    const std::vector<View> views = RandomViews(11);
    const std::vector<uint32_t> levels = {1};
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto all, runner->Run(views, levels));
    ASSERT_EQ(all.size(), 11u);
    for (size_t i = 0; i < views.size(); ++i) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto alone, runner->Run({&views[i], 1}, levels));
      EXPECT_TRUE(SameBits(alone[0].levels[0].values, all[i].levels[0].values)) << i;
      EXPECT_TRUE(SameBits(alone[0].importance, all[i].importance)) << i;
    }
  }
}

TEST_F(TorchScriptTeacherTest, SpecsAreFrozenButForTheDigest) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner, LoadOf(kMap, Described(R"(["map"])")));
  Json spec = runner->TeacherSpec();
  EXPECT_EQ(spec["weights"].get<std::string>().size(), 64u);
  spec["weights"] = "";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string text, CanonicalText(spec));
  EXPECT_EQ(text, R"({"architecture":{"class_row":"patch_mean","levels":["map"]},"family":"torchscript",)"
                  R"("importance":"none","precision":"f32","weights":""})");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string pixels, CanonicalText(runner->PreprocessingSpec()));
  EXPECT_EQ(pixels, R"({"filter":"none","mean":["0.5","0.5","0.5"],"size":16,"std":["0.25","0.5","1"]})");
}

TEST_F(TorchScriptTeacherTest, TheDigestIsOfTheContentNotOfTheFilesName) {
  const auto digest = [this](const std::string& name) {
    TeacherOptions options = options_;
    options.weights = Path(name);
    const auto runner = TeacherRunner::Load(options);
    EXPECT_TRUE(runner.ok()) << runner.status();
    return runner.ok() ? (*runner)->TeacherSpec()["weights"].get<std::string>() : "";
  };
  Describe(Described(R"(["map"])"));
  std::filesystem::copy_file(Path("teacher.json"), Path("other.json"));
  Save(kMap);
  Save(kMap, "other.pt");  // the archive's own folder is named after the file
  EXPECT_NE(ReadFile(Path("teacher.pt")).value(), ReadFile(Path("other.pt")).value());
  EXPECT_EQ(digest("teacher.pt"), digest("other.pt"));
  weight_ = weight_ * 2;
  Save(kMap, "other.pt");
  EXPECT_NE(digest("teacher.pt"), digest("other.pt"));
}

TEST_F(TorchScriptTeacherTest, SuffixAndFamilySayWhatItIs) {
  Save(kMap, "teacher.torchscript");
  Save(kMap, "teacher.model");
  Describe(Described(R"(["map"])"));
  options_.weights = Path("teacher.torchscript");
  AFTERIMAGE_EXPECT_OK(Load().status());
  options_.weights = Path("teacher.model");
  options_.family = "torchscript";
  AFTERIMAGE_EXPECT_OK(Load().status());
}

TEST_F(TorchScriptTeacherTest, PicklesAreNotReadAndTheRemedyIsTold) {
  const std::vector<char> checkpoint = torch::jit::pickle_save(weight_);
  AFTERIMAGE_ASSERT_OK(
      WriteFileAtomically(Path("teacher.pt"), absl::string_view(checkpoint.data(), checkpoint.size())));
  const auto is_told =
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("teacher.pt"), HasSubstr("pickle"), HasSubstr(".safetensors")));
  EXPECT_THAT(Load(), is_told);
  AFTERIMAGE_ASSERT_OK(WriteFileAtomically(Path("teacher.pt"), "\x80\x02}q\x01."));  // before PyTorch 1.6
  EXPECT_THAT(Load(), is_told);
  options_.family = "hf_clip";
  EXPECT_THAT(Load(), is_told);
  options_ = {.weights = Path("pytorch_model.bin")};
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("docs/teachers.md")));
}

TEST_F(TorchScriptTeacherTest, WhatIsNoArchiveIsDataLoss) {
  Save(kMap);
  const std::string archive = ReadFile(Path("teacher.pt")).value();
  for (const std::string& bytes : {std::string(), std::string("PK\x03\x04 and no more"),
                                   std::string("hello world"), archive.substr(0, archive.size() / 2)}) {
    AFTERIMAGE_ASSERT_OK(WriteFileAtomically(Path("teacher.pt"), bytes));
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("teacher.pt"))) << bytes.size();
  }
  std::filesystem::remove(Path("teacher.pt"));
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("teacher.pt")));
}

TEST_F(TorchScriptTeacherTest, DescriptionsAreChecked) {
  Save(kMap);
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound,
                               AllOf(HasSubstr("teacher.json"), HasSubstr(R"("class_token": false)"))));
  const std::string levels = R"(["map"])";
  const std::pair<std::string, const char*> cases[] = {
      {"[]", "not a JSON object"},
      {Described(levels, R"(, "class_token": false, "classtoken": 1)"), "classtoken"},
      {Described(levels, R"(, "class_token": 1)"), "\"class_token\""},
      {Described(levels, R"(, "importance": true)"), "\"class_token\""},
      {Described("[]"), "\"levels\""},
      {Described(R"(["a", "a"])"), "twice"},
      {Described("[1]"), "holds no name"},
      {R"({"size": 16, "grid": 5, "levels": ["a"]})", "does not divide"},
      {R"({"size": -16, "grid": 4, "levels": ["a"]})", "out of range"},
      {R"({"size": 65536, "grid": 256, "levels": ["a"]})", "out of range"},
      {R"({"grid": 4})", "size"},
      {R"({"size": 16, "grid": 4, "levels": ["a"], "class_token": false})", "\"mean\""},
      {R"({"size": 16, "grid": 4, "levels": ["a"], "class_token": false, "mean": [1, 2, 3], "std": [1, 0, 1]})",
       "\"std\""},
  };
  for (const auto& [text, message] : cases) {
    Describe(text);
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("teacher.json"), HasSubstr(message))))
        << text;
  }
}

TEST_F(TorchScriptTeacherTest, OutputsAgainstTheDescriptionAreRefusedWithBothShapes) {
  const std::string one = Described(R"(["map"])");
  ExpectRefused(kMap, Described(R"(["a", "b"])"), "returns 1 tensors, its description has 2: a, b");
  ExpectRefused(kMap, R"({"size": 16, "grid": 8, "levels": ["a"], "class_token": false, "mean": [0, 0, 0],
                          "std": [1, 1, 1]})",
                "[4, 6, 4, 4], the description wants floating point [4, 64, D] or [4, D, 8, 8]");
  ExpectRefused(kMap, Described(R"(["a"])", R"(, "class_token": true)"), "[4, 17, D]");
  ExpectRefused("def forward(self, x):\n    return torch.flatten(x, 1)\n", one,
                "level \"map\" is Float [4, 768]");
  ExpectRefused("def forward(self, x):\n    return torch.gt(torch.conv2d(x, self.w, None, [4, 4]), 0)\n", one,
                "Bool");
  ExpectRefused("def forward(self, x):\n    return torch.conv2d(x, self.w, None, [4, 4]) * float('nan')\n",
                one, "NaN");
  ExpectRefused(
      "def forward(self, x):\n    m = torch.conv2d(x, self.w, None, [4, 4])\n    return (m, torch.cat([m, "
      "m], 1))\n",
      Described(R"(["a", "b"])"), "the same width in all levels");
  ExpectRefused("def forward(self, x):\n    return {\"other\": torch.conv2d(x, self.w, None, [4, 4])}\n", one,
                "returns no \"map\"");
  ExpectRefused("def forward(self, x):\n    return 3\n", one, "not a tensor");
  const std::string with_importance = Described(R"(["a"])", R"(, "class_token": false, "importance": true)");
  ExpectRefused(
      "def forward(self, x):\n    m = torch.conv2d(x, self.w, None, [4, 4])\n    return (m, torch.flatten(m, "
      "2))\n",
      with_importance, "the importance is Float [4, 6, 16], the description wants floating point [4, 16]");
  ExpectRefused(
      "def forward(self, x):\n    m = torch.conv2d(x, self.w, None, [4, 4])\n    return (m, "
      "torch.sum(torch.flatten(m, 2), 1))\n",
      with_importance, "at least 0");
}

TEST_F(TorchScriptTeacherTest, AModuleThatThrowsSaysWhat) {
  ExpectRefused("def forward(self, x):\n    assert x.size(0) > 100, 'the moon is full'\n    return x\n",
                Described(R"(["map"])"), "the moon is full");
  ExpectRefused("def forward(self, x):\n    return torch.conv2d(x, self.w[0], None, [4, 4])\n",
                Described(R"(["map"])"), "the module failed");
}

TEST_F(TorchScriptTeacherTest, AResultThatDependsOnNeighboursIsRefused) {
  const std::string code =
      "def forward(self, x):\n    m = torch.conv2d(x, self.w, None, [4, 4])\n    return m - torch.mean(m, 0, "
      "True)\n";
  ExpectRefused(code, Described(R"(["map"])"), "--micro-batch 1");
  options_.micro_batch = 1;
  AFTERIMAGE_EXPECT_OK(LoadOf(code, Described(R"(["map"])")).status());
}

TEST_F(TorchScriptTeacherTest, OptionsOfOtherTeachersAreRefused) {
  Save(kMap);
  Describe(Described(R"(["map"])"));
  options_.num_heads = 3;
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--teacher-heads")));
  options_.num_heads = 0;
  options_.image_size = 32;
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("32"), HasSubstr("16"))));
  options_.image_size = 16;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner, Load());
  EXPECT_THAT(runner->Run(RandomViews(1), std::vector<uint32_t>{2}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to 1")));
}

}  // namespace
}  // namespace afterimage
