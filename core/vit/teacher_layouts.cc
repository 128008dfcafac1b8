#include "core/vit/teacher_layouts.h"

#include <optional>

namespace afterimage {
namespace {

constexpr ChannelValues kClipMean = {0.48145466, 0.4578275, 0.40821073};
constexpr ChannelValues kClipStd = {0.26862954, 0.26130258, 0.27577711};
constexpr ChannelValues kImageNetMean = {0.485, 0.456, 0.406};
constexpr ChannelValues kImageNetStd = {0.229, 0.224, 0.225};

// `file`.weight and .bias -> `ours`.weight and .bias
void AddPair(std::vector<NameRule>& rules, const std::string& file, const std::string& ours) {
  rules.push_back({file + ".weight", ours + ".weight"});
  rules.push_back({file + ".bias", ours + ".bias"});
}

TeacherSettings Defaults(std::optional<Activation> activation, std::optional<double> eps,
                         std::optional<ChannelValues> mean, std::optional<ChannelValues> std) {
  TeacherSettings settings;
  settings.activation = activation;
  settings.layer_norm_eps = eps;
  settings.mean = mean;
  settings.std = std;
  return settings;
}

TeacherLayout TimmVit() {
  TeacherLayout family{.name = "timm_vit", .prefixes = {""}, .signature = "blocks.0.attn.qkv.weight"};
  family.rules = {{"cls_token", "cls_token"}, {"pos_embed", "pos_embed"}};
  for (const char* name : {"patch_embed.proj", "norm_pre", "norm", "blocks.#.norm1", "blocks.#.attn.qkv",
                           "blocks.#.attn.proj", "blocks.#.norm2", "blocks.#.mlp.fc1", "blocks.#.mlp.fc2"}) {
    AddPair(family.rules, name, name);
  }
  for (const char* name : {"blocks.#.ls1.gamma", "blocks.#.ls2.gamma"}) family.rules.push_back({name, name});
  family.optional = {"norm_pre.", "patch_embed.proj.bias", "blocks.#.ls"};
  family.ignored = {"head.", "fc_norm."};
  family.resize = PositionResize::kSizeAntialias;
  // timm's checkpoints come with either of two input normalisations: there is no safe default.
  family.defaults = Defaults(Activation::kGelu, 1e-6, std::nullopt, std::nullopt);
  return family;
}

TeacherLayout DinoOriginal() {
  TeacherLayout family = TimmVit();
  family.name = "dino_original";
  family.recognised = false;  // timm's names; only the resizing differs
  family.resize = PositionResize::kScaleOffset;
  family.defaults = Defaults(Activation::kGelu, 1e-6, kImageNetMean, kImageNetStd);
  return family;
}

TeacherLayout HfClip() {
  TeacherLayout family{
      .name = "hf_clip", .prefixes = {"vision_model.", ""}, .signature = "embeddings.class_embedding"};
  family.rules = {{"embeddings.class_embedding", "cls_token"},
                  {"embeddings.position_embedding.weight", "pos_embed"},
                  {"embeddings.patch_embedding.weight", "patch_embed.proj.weight"}};
  AddPair(family.rules, "pre_layrnorm", "norm_pre");
  AddPair(family.rules, "post_layernorm", "norm");
  const std::string layer = "encoder.layers.#.";
  AddPair(family.rules, layer + "layer_norm1", "blocks.#.norm1");
  AddPair(family.rules, layer + "self_attn.q_proj", "blocks.#.attn.q");
  AddPair(family.rules, layer + "self_attn.k_proj", "blocks.#.attn.k");
  AddPair(family.rules, layer + "self_attn.v_proj", "blocks.#.attn.v");
  AddPair(family.rules, layer + "self_attn.out_proj", "blocks.#.attn.proj");
  AddPair(family.rules, layer + "layer_norm2", "blocks.#.norm2");
  AddPair(family.rules, layer + "mlp.fc1", "blocks.#.mlp.fc1");
  AddPair(family.rules, layer + "mlp.fc2", "blocks.#.mlp.fc2");
  family.ignored = {"text_model.",
                    "text_projection.",
                    "visual_projection.",
                    "logit_scale",
                    "classifier.",
                    "vision_model.embeddings.position_ids",
                    "embeddings.position_ids"};
  family.defaults = Defaults(Activation::kQuickGelu, 1e-5, kClipMean, kClipStd);
  return family;
}

TeacherLayout OpenClip() {
  TeacherLayout family{.name = "open_clip", .prefixes = {"visual."}, .signature = "class_embedding"};
  family.rules = {{"class_embedding", "cls_token"},
                  {"positional_embedding", "pos_embed"},
                  {"conv1.weight", "patch_embed.proj.weight"}};
  AddPair(family.rules, "ln_pre", "norm_pre");
  AddPair(family.rules, "ln_post", "norm");
  const std::string layer = "transformer.resblocks.#.";
  AddPair(family.rules, layer + "ln_1", "blocks.#.norm1");
  family.rules.push_back({layer + "attn.in_proj_weight", "blocks.#.attn.qkv.weight"});
  family.rules.push_back({layer + "attn.in_proj_bias", "blocks.#.attn.qkv.bias"});
  AddPair(family.rules, layer + "attn.out_proj", "blocks.#.attn.proj");
  family.rules.push_back({layer + "ls_1.gamma", "blocks.#.ls1.gamma"});
  AddPair(family.rules, layer + "ln_2", "blocks.#.norm2");
  AddPair(family.rules, layer + "mlp.c_fc", "blocks.#.mlp.fc1");
  AddPair(family.rules, layer + "mlp.c_proj", "blocks.#.mlp.fc2");
  family.rules.push_back({layer + "ls_2.gamma", "blocks.#.ls2.gamma"});
  family.optional = {"blocks.#.ls"};
  family.ignored = {"visual.proj", "positional_embedding", "transformer.", "token_embedding.", "ln_final.",
                    "text.",       "text_projection",      "logit_scale",  "logit_bias"};
  family.resize = PositionResize::kSizeAntialias;
  // OpenAI's weights use quick-GELU, most others GELU.
  family.defaults = Defaults(std::nullopt, 1e-5, kClipMean, kClipStd);
  return family;
}

// What HF ViT and HF DINOv2 share.
TeacherLayout HfBackbone(const std::string& name, const std::string& prefix) {
  TeacherLayout family{.name = name, .prefixes = {prefix, ""}};
  family.rules = {{"embeddings.cls_token", "cls_token"}, {"embeddings.position_embeddings", "pos_embed"}};
  AddPair(family.rules, "embeddings.patch_embeddings.projection", "patch_embed.proj");
  AddPair(family.rules, "layernorm", "norm");
  const std::string layer = "encoder.layer.#.";
  AddPair(family.rules, layer + "attention.attention.query", "blocks.#.attn.q");
  AddPair(family.rules, layer + "attention.attention.key", "blocks.#.attn.k");
  AddPair(family.rules, layer + "attention.attention.value", "blocks.#.attn.v");
  AddPair(family.rules, layer + "attention.output.dense", "blocks.#.attn.proj");
  family.ignored = {"pooler.", prefix + "pooler.", "classifier.", "embeddings.mask_token",
                    prefix + "embeddings.mask_token"};
  return family;
}

TeacherLayout HfVit() {
  TeacherLayout family = HfBackbone("hf_vit", "vit.");
  family.signature = "encoder.layer.0.layernorm_before.weight";
  const std::string layer = "encoder.layer.#.";
  AddPair(family.rules, layer + "layernorm_before", "blocks.#.norm1");
  AddPair(family.rules, layer + "layernorm_after", "blocks.#.norm2");
  AddPair(family.rules, layer + "intermediate.dense", "blocks.#.mlp.fc1");
  AddPair(family.rules, layer + "output.dense", "blocks.#.mlp.fc2");
  family.defaults = Defaults(Activation::kGelu, 1e-12, kImageNetMean, kImageNetStd);
  return family;
}

TeacherLayout HfDinoV2() {
  TeacherLayout family = HfBackbone("hf_dinov2", "dinov2.");
  family.signature = "encoder.layer.0.layer_scale1.lambda1";
  const std::string layer = "encoder.layer.#.";
  AddPair(family.rules, layer + "norm1", "blocks.#.norm1");
  AddPair(family.rules, layer + "norm2", "blocks.#.norm2");
  AddPair(family.rules, layer + "mlp.fc1", "blocks.#.mlp.fc1");
  AddPair(family.rules, layer + "mlp.fc2", "blocks.#.mlp.fc2");
  family.rules.push_back({layer + "layer_scale1.lambda1", "blocks.#.ls1.gamma"});
  family.rules.push_back({layer + "layer_scale2.lambda1", "blocks.#.ls2.gamma"});
  family.defaults = Defaults(Activation::kGelu, 1e-6, kImageNetMean, kImageNetStd);
  return family;
}

}  // namespace

const std::vector<TeacherLayout>& TeacherLayouts() {
  static const auto& layouts =
      *new std::vector<TeacherLayout>{TimmVit(), HfClip(), OpenClip(), HfVit(), HfDinoV2(), DinoOriginal()};
  return layouts;
}

}  // namespace afterimage
