#include "core/vit/teacher_families.h"

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/changed_teacher.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using ::afterimage::testing::Tensors;

class TeacherFamiliesTest : public ::afterimage::testing::ChangedTeacherTest {};

TEST_F(TeacherFamiliesTest, AMissingTensorIsNamedWithItsShape) {
  EXPECT_THAT(
      Load("teacher_timm_vit", [](Tensors& t) { t.erase("blocks.1.attn.proj.bias"); }),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr(path()), HasSubstr("\"blocks.1.attn.proj.bias\" of shape [48] is missing"))));
  EXPECT_THAT(
      Load("teacher_hf_clip",
           [](Tensors& t) { t.erase("vision_model.encoder.layers.3.self_attn.k_proj.weight"); }),
      StatusIs(
          absl::StatusCode::kInvalidArgument,
          HasSubstr(
              "\"vision_model.encoder.layers.3.self_attn.k_proj.weight\" of shape [48, 48] is missing")));
  EXPECT_THAT(Load("teacher_hf_clip", [](Tensors& t) { t.erase("vision_model.pre_layrnorm.bias"); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("pre_layrnorm.bias")));
  EXPECT_THAT(Load("teacher_timm_vit", [](Tensors& t) { t.erase("pos_embed"); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"pos_embed\" is missing")));
}

// What other networks of the family do without is not taken for absent on purpose.
TEST_F(TeacherFamiliesTest, WholeMissingPartsAreNoticed) {
  const auto erase = [](const std::string& part) {
    return [part](Tensors& t) {
      EXPECT_GT(std::erase_if(t, [&](const auto& e) { return e.first.find(part) != std::string::npos; }), 0u);
    };
  };
  EXPECT_THAT(Load("teacher_hf_clip", erase("pre_layrnorm")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("pre_layrnorm")));
  EXPECT_THAT(Load("teacher_open_clip_gelu_p16", erase("visual.ln_pre")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("visual.ln_pre")));
  EXPECT_THAT(
      Load("teacher_timm_vit", erase("patch_embed.proj.bias")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"patch_embed.proj.bias\" of shape [48]")));
  EXPECT_THAT(Load("teacher_hf_vit_dino_p16", erase("patch_embeddings.projection.bias")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("patch_embeddings.projection.bias")));
  EXPECT_THAT(Load("teacher_timm_vit_layerscale_p16", erase("ls1.gamma")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"blocks.0.ls1.gamma\"")));
  EXPECT_THAT(Load("teacher_hf_dinov2", erase("layer_scale2")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("layer_scale2.lambda1")));
  EXPECT_THAT(Load("teacher_timm_vit", erase("norm.weight")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("norm.weight")));
}

TEST_F(TeacherFamiliesTest, AMissingBlockIsAMissingTensor) {
  EXPECT_THAT(
      Load("teacher_timm_vit",
           [](Tensors& t) {
             std::erase_if(t, [](const auto& e) { return e.first.starts_with("blocks.1."); });
           }),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("\"blocks.1."), HasSubstr("missing"))));
}

TEST_F(TeacherFamiliesTest, AnExtraTensorIsNamedWithItsShape) {
  const auto add = [](const std::string& name) {
    return [name](Tensors& t) { t[name] = t.at("norm.weight"); };
  };
  EXPECT_THAT(Load("teacher_timm_vit", add("blocks.0.attn.q_norm.weight")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"blocks.0.attn.q_norm.weight\" of shape [48] is no part of a timm_vit")));
  EXPECT_THAT(Load("teacher_timm_vit", add("reg_token")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"reg_token\"")));
  EXPECT_THAT(Load("teacher_timm_vit", add("blocks.7.ls1.gamma")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("missing")));
}

TEST_F(TeacherFamiliesTest, AWronglyShapedTensorIsNamedWithBothShapes) {
  const auto reshape = [](const std::string& name, std::vector<int64_t> shape) {
    return [name, shape](Tensors& t) { t.at(name).shape = shape; };
  };
  EXPECT_THAT(
      Load("teacher_timm_vit", reshape("blocks.2.attn.qkv.weight", {48, 144})),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("\"blocks.2.attn.qkv.weight\""),
                                                         HasSubstr("[48, 144]"), HasSubstr("[144, 48]"))));
  EXPECT_THAT(Load("teacher_timm_vit", reshape("patch_embed.proj.weight", {48, 48})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("[48, 48]"), HasSubstr("[width, 3, patch, patch]"))));
  EXPECT_THAT(
      Load("teacher_timm_vit", reshape("pos_embed", {1, 48, 37})),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("pos_embed"), HasSubstr("[1, 48, 37]"))));
  EXPECT_THAT(Load("teacher_hf_clip", reshape("vision_model.encoder.layers.0.mlp.fc2.weight", {192, 48})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("mlp.fc2.weight"), HasSubstr("[192, 48]"), HasSubstr("[48, 192]"))));
}

TEST_F(TeacherFamiliesTest, IntegersAreNoWeights) {
  EXPECT_THAT(
      Load("teacher_timm_vit", [](Tensors& t) { t.at("norm.weight").type = TensorType::kI32; }),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("\"norm.weight\""), HasSubstr("I32"))));
}

TEST_F(TeacherFamiliesTest, UnknownFamiliesListTheKnownOnes) {
  EXPECT_THAT(
      Load("teacher_timm_vit",
           [](Tensors& t) { std::erase_if(t, [](const auto& e) { return e.first != "cls_token"; }); }),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("timm_vit"), HasSubstr("hf_clip"), HasSubstr("cls_token"))));
  EXPECT_THAT(
      Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) { o.family = "resnet"; }),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("\"resnet\""), HasSubstr("hf_clip"))));
  EXPECT_THAT(Load("teacher_timm_vit", [](Tensors& t) { t.clear(); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no tensor at all")));
}

TEST_F(TeacherFamiliesTest, TheWrongFamilyByNameIsAMissingTensor) {
  EXPECT_THAT(Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) { o.family = "hf_clip"; }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"embeddings.patch_embedding.weight\" is missing")));
}

TEST_F(TeacherFamiliesTest, TextTowersAndOldPositionIdsArePassedOver) {
  const auto add_text = [](Tensors& t) {
    t["text_model.encoder.layers.0.mlp.fc1.bias"] = t.at("visual_projection.weight");
    t["text_projection.weight"] = t.at("visual_projection.weight");
    t["logit_scale"] = {TensorType::kF32, {1}, t.at("visual_projection.weight").data.first(4)};
    t["vision_model.embeddings.position_ids"] = {
        TensorType::kI64, {1, 2}, t.at("visual_projection.weight").data.first(16)};
  };
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model, Load("teacher_hf_clip", add_text));
  EXPECT_EQ(model.family, "hf_clip");
  EXPECT_EQ(model.parameters.size(), VitParameterShapes(model.config).size());
}

TEST_F(TeacherFamiliesTest, WithoutAConfigurationWhatIsMissingIsListed) {
  EXPECT_THAT(Load("teacher_hf_clip", Unchanged, WithoutSettings),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("number of heads"), HasSubstr("config.json"),
                             HasSubstr("quick_gelu: OpenAI's"), Not(HasSubstr("--teacher-mean")))));
  EXPECT_THAT(Load("teacher_timm_vit", Unchanged, WithoutSettings),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("number of heads"), HasSubstr("mean"), HasSubstr("std"))));
  EXPECT_THAT(Load("teacher_open_clip_gelu_p16", Unchanged, WithoutSettings),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("activation")));
}

TEST_F(TeacherFamiliesTest, ReadsTransformersConfig) {
  WriteBeside("config.json",
              R"({"model_type":"clip","vision_config":{"hidden_size":48,"num_attention_heads":4,
                                 "hidden_act":"gelu","layer_norm_eps":1e-06,"patch_size":4}})");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                  Load("teacher_hf_clip", Unchanged, WithoutSettings));
  EXPECT_EQ(model.config.heads, 4);
  EXPECT_EQ(model.config.activation, Activation::kGelu);
  EXPECT_EQ(model.config.layer_norm_eps, 1e-6);
  EXPECT_THAT(model.mean, ElementsAre(0.48145466, 0.4578275, 0.40821073));
}

TEST_F(TeacherFamiliesTest, TransformersLeavesOutItsDefaultOfTwelveHeads) {
  WriteBeside("config.json", R"({"model_type":"clip_vision_model"})");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                  Load("teacher_hf_clip", Unchanged, WithoutSettings));
  EXPECT_EQ(model.config.heads, 12);
  EXPECT_EQ(model.config.activation, Activation::kQuickGelu);
}

TEST_F(TeacherFamiliesTest, ReadsOpenClipConfig) {
  WriteBeside("open_clip_config.json",
              R"({"model_cfg":{"quick_gelu":true,"vision_cfg":{"width":48,"head_width":12}},
                                           "preprocess_cfg":{"mean":[0.5,0.5,0.5],"std":[0.25,0.25,0.25]}})");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                  Load("teacher_open_clip_quickgelu", Unchanged, WithoutSettings));
  EXPECT_EQ(model.config.heads, 4);
  EXPECT_EQ(model.config.activation, Activation::kQuickGelu);
  EXPECT_THAT(model.std, ElementsAre(0.25, 0.25, 0.25));
}

TEST_F(TeacherFamiliesTest, ReadsTimmConfig) {
  WriteBeside("config.json",
              R"({"architecture":"vit_x","pretrained_cfg":{"mean":[0.5,0.4,0.3],"std":[0.5,0.5,0.5]}})");
  EXPECT_THAT(
      Load("teacher_timm_vit", Unchanged, WithoutSettings),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("heads"), Not(HasSubstr("mean")))));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                  Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) {
                                    o = {};
                                    o.num_heads = 6;
                                  }));
  EXPECT_EQ(model.config.heads, 6);
  EXPECT_THAT(model.mean, ElementsAre(0.5, 0.4, 0.3));
}

TEST_F(TeacherFamiliesTest, OurMetadataComesBeforeConfigJsonAndFlagsBeforeBoth) {
  WriteBeside("config.json", R"({"model_type":"vit","num_attention_heads":2})");
  const std::map<std::string, std::string> metadata = {
      {kConfigMetadataKey,
       R"({"heads":4,"activation":"quick_gelu","layer_norm_eps":"1e-05","mean":["0.1","0.2","0.3"],
                               "std":"0.5,0.5,0.25","image_size":24,"patch_size":4})"}};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                  Load("teacher_timm_vit", Unchanged, WithoutSettings, metadata));
  EXPECT_EQ(model.config.heads, 4);
  EXPECT_EQ(model.config.activation, Activation::kQuickGelu);
  EXPECT_EQ(model.config.layer_norm_eps, 1e-5);
  EXPECT_THAT(model.mean, ElementsAre(0.1, 0.2, 0.3));
  EXPECT_THAT(model.std, ElementsAre(0.5, 0.5, 0.25));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel flagged, Load(
                                                                  "teacher_timm_vit", Unchanged,
                                                                  [](TeacherOptions& o) {
                                                                    o = {};
                                                                    o.num_heads = 8;
                                                                    o.activation = "gelu";
                                                                  },
                                                                  metadata));
  EXPECT_EQ(flagged.config.heads, 8);
  EXPECT_EQ(flagged.config.activation, Activation::kGelu);
  EXPECT_EQ(flagged.config.layer_norm_eps, 1e-5);
}

TEST_F(TeacherFamiliesTest, AConfigurationOfAnotherNetworkIsRefused) {
  WriteBeside("config.json", R"({"model_type":"clip_vision_model","hidden_size":768})");
  EXPECT_THAT(Load("teacher_hf_clip", Unchanged),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("768"), HasSubstr("48"))));
}

TEST_F(TeacherFamiliesTest, ABrokenConfigurationIsNamed) {
  WriteBeside("config.json", "{");
  EXPECT_THAT(Load("teacher_hf_clip", Unchanged),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("config.json")));
  WriteBeside("config.json", R"({"model_type":"clip_vision_model","num_attention_heads":"many"})");
  EXPECT_THAT(Load("teacher_hf_clip", Unchanged),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("num_attention_heads")));
}

TEST_F(TeacherFamiliesTest, BadSettingsAreRefused) {
  EXPECT_THAT(Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) { o.num_heads = 7; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("7 heads")));
  EXPECT_THAT(Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) { o.mean = "0.5,0.5"; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mean")));
  EXPECT_THAT(Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) { o.std = "0.5,0.5,0"; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("std")));
  EXPECT_THAT(Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) { o.activation = "relu"; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("relu")));
  EXPECT_THAT(Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) { o.image_size = 30; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("30")));
}

TEST_F(TeacherFamiliesTest, ATimmClipNeedsItsEpsSaid) {
  const auto add_pre_norm = [](Tensors& t) {
    t["norm_pre.weight"] = t.at("norm.weight");
    t["norm_pre.bias"] = t.at("norm.bias");
  };
  EXPECT_THAT(Load("teacher_timm_vit", add_pre_norm),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("eps"), HasSubstr("activation"))));
}

}  // namespace
}  // namespace afterimage
