// Exports in the real timm and transformers: loaded strictly, and computing what `forward` computes. Needs a
// Python with both, named by the environment variable or the CMake cache variable AFTERIMAGE_TEACHER_PYTHON.
#include <ATen/ATen.h>

#include <cstdlib>
#include <filesystem>

#include "core/vit/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/checkpoint_network.h"
#include "trainer/model/classifier.h"
#include "trainer/model/vit_init.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::Finished;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::RunProgram;
using ::testing::HasSubstr;

constexpr char kScript[] = AFTERIMAGE_SOURCE_DIR "/tests/trainer/checkpoint/check_export.py";
constexpr absl::Duration kImportsTake = absl::Seconds(300);

std::string Python() {
  const char* const named = std::getenv("AFTERIMAGE_TEACHER_PYTHON");
  return named != nullptr ? named : AFTERIMAGE_TEACHER_PYTHON;
}

class ExportInPythonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Python().empty() || !std::filesystem::exists(Python())) {
      GTEST_SKIP() << "AFTERIMAGE_TEACHER_PYTHON names no Python";
    }
    const Finished versions = RunProgram({Python(), kScript, "versions"}, kImportsTake);
    if (versions.status != 0) GTEST_SKIP() << Python() << " lacks a library: " << versions.err;
    std::printf("%s", versions.out.c_str());
    weights_.config = {
        .image_size = 24, .patch_size = 4, .width = 48, .depth = 3, .heads = 3, .mlp_width = 192};
    weights_.parameters = NewVit(weights_.config, 3);
    // Nothing at a value that a mistake could give too, such as norms at 1 and biases at 0.
    const at::Generator generator = InitialGenerator(9, "noise");
    for (auto& [name, tensor] : weights_.parameters) tensor.add_(at::randn(tensor.sizes(), generator), 0.05);
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  static Finished Train(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), AFTERIMAGE_BINARY_DIR "/bin/afterimage-train");
    return RunProgram(std::move(arguments));
  }
  void Export(const std::string& names, const std::string& out) const {
    Checkpoint checkpoint;
    checkpoint.weights = weights_.parameters;
    checkpoint.values[kNetworkValue] = NetworkText(weights_);
    ASSERT_THAT(WriteCheckpoint(Path("run"), checkpoint), IsOk());
    const Finished exported =
        Train({"export", "--checkpoint", Path("run"), "--names", names, "--out", Path(out)});
    ASSERT_EQ(exported.status, 0) << exported.Text();
  }
  void LoadInPython(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {Python(), kScript});
    const Finished loaded = RunProgram(std::move(arguments), kImportsTake);
    ASSERT_EQ(loaded.status, 0) << loaded.Text();
  }
  void ExpectEqualFeatures(const std::string& weights, int num_tensors) const {
    for (const char* dtype : {"f32", "f64"}) {
      const Finished compared =
          Train({"forward", "--weights", weights, "--input", Path("reference.safetensors"), "--compare",
                 Path("reference.safetensors"), "--dtype", dtype});
      EXPECT_EQ(compared.status, 0) << compared.Text();
      EXPECT_THAT(compared.out, HasSubstr(absl::StrCat(num_tensors, " tensors equal")));
    }
  }
  void ExpectEqualLogits() const {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap reference, LoadTensors(Path("reference.safetensors")));
    const at::Tensor rows = PatchRows(reference.at("input.pixel_values"), weights_.config.patch_size);
    const at::Tensor logits = ClassifierLogits(weights_.config, weights_.parameters, rows);
    EXPECT_LT((logits - reference.at("logits")).abs().max().item<double>(), 1e-5);
  }

  const testing::TemporaryFolder folder_;
  VitWeights weights_;
};

TEST_F(ExportInPythonTest, TimmLoadsAStudentStrictly) {
  Export("timm", "student.safetensors");
  LoadInPython({"timm", Path("student.safetensors"), Path("reference.safetensors")});
  ExpectEqualFeatures(Path("student.safetensors"), 4);
}

TEST_F(ExportInPythonTest, TransformersLoadsAStudentStrictly) {
  Export("hf", "student");
  LoadInPython({"hf", Path("student"), Path("reference.safetensors")});
  ExpectEqualFeatures(Path("student"), 5);
}

TEST_F(ExportInPythonTest, BothLoadAClassifierOverTheClassToken) {
  weights_.class_names = {"cat", "dog", "owl"};
  AddHead(weights_.parameters, 3, 1);
  Export("timm", "model.safetensors");
  LoadInPython({"timm", Path("model.safetensors"), Path("reference.safetensors"), "3", "token"});
  ExpectEqualLogits();
  Export("hf", "model");
  LoadInPython({"hf", Path("model"), Path("reference.safetensors"), "3"});
  ExpectEqualLogits();
}

TEST_F(ExportInPythonTest, TimmLoadsAClassifierOverTheMeanPatchStrictly) {
  AddHead(weights_.parameters, 3, 1, 0.02, Pool::kMean);
  weights_.parameters["fc_norm.bias"].add_(0.3);
  Export("timm", "model.safetensors");
  LoadInPython({"timm", Path("model.safetensors"), Path("reference.safetensors"), "3", "avg"});
  ExpectEqualLogits();
}

}  // namespace
}  // namespace afterimage::trainer
