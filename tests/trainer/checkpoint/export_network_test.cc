// Exports as our own readers see them; what timm and transformers say is in export_in_python_test.cc.
#include "trainer/checkpoint/export_network.h"

#include <ATen/ATen.h>

#include <filesystem>

#include "core/base/files.h"
#include "core/vit/teacher_families.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/model/classifier.h"
#include "trainer/model/hf_vit.h"
#include "trainer/model/vit_init.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ExportNetworkTest : public ::testing::Test {
 protected:
  ExportNetworkTest() {
    weights_.config = {
        .image_size = 12, .patch_size = 3, .width = 16, .depth = 2, .heads = 2, .mlp_width = 64};
    weights_.parameters = NewVit(weights_.config, 3);
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  // A run's folder with one checkpoint of `weights`.
  std::string WriteRun(const VitWeights& weights) const {
    Checkpoint checkpoint;
    checkpoint.step = 5;
    checkpoint.weights = weights.parameters;
    checkpoint.values[kNetworkValue] = NetworkText(weights);
    EXPECT_THAT(WriteCheckpoint(Path("run"), checkpoint), IsOk());
    return Path("run");
  }
  absl::StatusOr<std::vector<std::string>> Export(ExportedNames names, const std::string& out) const {
    return ExportNetwork({.checkpoint = Path("run"), .out = Path(out), .names = names});
  }
  // The exported network as a teacher has the parameters that went in.
  void ExpectSameNetwork(const std::string& path, const std::string& family) const {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::OpenCheckpoint(path));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model, LoadTeacherModel(*file, {}, at::kFloat));
    EXPECT_EQ(model.family, family);
    EXPECT_EQ(model.config.ToCanonical(), weights_.config.ToCanonical());
    EXPECT_THAT(model.mean, ElementsAre(0.485, 0.456, 0.406));
    for (const auto& [name, tensor] : weights_.parameters) {
      ASSERT_TRUE(model.parameters.contains(name)) << name;
      EXPECT_TRUE(at::equal(model.parameters.at(name), tensor)) << name;
    }
  }

  const testing::TemporaryFolder folder_;
  VitWeights weights_;
};

TEST_F(ExportNetworkTest, BothKindsOfNamesAreTheSameNetwork) {
  WriteRun(weights_);
  ASSERT_THAT(Export(ExportedNames::kTimm, "timm.safetensors").status(), IsOk());
  ExpectSameNetwork(Path("timm.safetensors"), "timm_vit");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto paths, Export(ExportedNames::kHuggingFace, "hf"));
  EXPECT_THAT(paths, ElementsAre(Path("hf/model.safetensors"), Path("hf/config.json"),
                                 Path("hf/preprocessor_config.json")));
  ExpectSameNetwork(Path("hf"), "hf_vit");
  EXPECT_THAT(Export(ExportedNames::kHuggingFace, "hf").status(), IsOk());  // its own files may be replaced
}

TEST_F(ExportNetworkTest, AClassifierOverTheClassTokenKeepsItsClassNames) {
  weights_.class_names = {"cat", "dog", "owl"};
  AddHead(weights_.parameters, 3, 1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const HfVit hf, ToHfVit(weights_));
  EXPECT_EQ(hf.config["architectures"], Json({"ViTForImageClassification"}));
  EXPECT_EQ(hf.config["id2label"]["2"], "owl");
  EXPECT_EQ(hf.config["label2id"]["dog"], 1);
  EXPECT_TRUE(hf.tensors.contains("classifier.weight"));
  EXPECT_TRUE(hf.tensors.contains("vit.encoder.layer.1.attention.attention.key.bias"));
  ASSERT_THAT(SaveVitWeights(Path("model.safetensors"), weights_, "f32"), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VitWeights loaded, LoadVitWeights(Path("model.safetensors")));
  EXPECT_THAT(loaded.class_names, ElementsAre("cat", "dog", "owl"));
}

TEST_F(ExportNetworkTest, AClassifierOverTheMeanPatchIsATeacherToo) {
  AddHead(weights_.parameters, 3, 1);
  ParameterMap& parameters = weights_.parameters;
  for (const char* part : {".weight", ".bias"}) {
    auto node = parameters.extract(std::string("norm") + part);
    node.key() = std::string("fc_norm") + part;
    parameters.insert(std::move(node));
  }
  WriteRun(weights_);
  ASSERT_THAT(Export(ExportedNames::kTimm, "timm.safetensors").status(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(Path("timm.safetensors")));
  EXPECT_THAT(LoadTeacherModel(*file, {}, at::kFloat).status(), IsOk());
  EXPECT_THAT(
      Export(ExportedNames::kHuggingFace, "hf").status(),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("mean pooling"), HasSubstr("timm"))));
}

TEST_F(ExportNetworkTest, WhatHuggingFaceDoesNotHaveIsRefused) {
  weights_.config.pre_norm = true;
  weights_.config.patch_bias = false;
  EXPECT_THAT(ToHfVit(weights_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("LayerNorm before block 1"), HasSubstr("without bias"))));
}

TEST_F(ExportNetworkTest, AConfigOfAnotherKindIsNotOverwritten) {
  WriteRun(weights_);
  ASSERT_THAT(WriteFileAtomically(Path("run/config.json"), "{\"recipe\": \"\"}"), IsOk());
  EXPECT_THAT(Export(ExportedNames::kHuggingFace, "run").status(),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("folder of its own")));
  EXPECT_FALSE(std::filesystem::exists(Path("run/model.safetensors")));
  EXPECT_THAT(Export(ExportedNames::kHuggingFace, "x.safetensors").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--out is a folder")));
}

TEST_F(ExportNetworkTest, ACheckpointWithoutANetworkIsRefused) {
  Checkpoint checkpoint;
  checkpoint.weights = weights_.parameters;
  ASSERT_THAT(WriteCheckpoint(Path("run"), checkpoint), IsOk());
  EXPECT_THAT(Export(ExportedNames::kTimm, "x.safetensors").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("does not say its network")));
}

}  // namespace
}  // namespace afterimage::trainer
