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

void SetResize(TeacherLayout& family, PositionResize resize) {
  family.resize = resize;
  family.resize_with_registers = resize;
}

// timm's VisionTransformer: with registers or a distillation token, LayerScale, a LayerNorm before block 1
// (CLIP) or a gated MLP, where the tensors say so.
TeacherLayout TimmVit() {
  TeacherLayout family{.name = "timm_vit", .signatures = {{"blocks.0.attn.qkv.weight"}}};
  family.rules = {{"cls_token", "cls_token"},
                  {"pos_embed", "pos_embed"},
                  {"reg_token", "reg_token"},
                  {"dist_token", "reg_token"}};
  for (const char* name : {"patch_embed.proj", "norm_pre", "norm", "blocks.#.norm1", "blocks.#.attn.qkv",
                           "blocks.#.attn.proj", "blocks.#.norm2", "blocks.#.mlp.fc1", "blocks.#.mlp.fc2"}) {
    AddPair(family.rules, name, name);
  }
  AddPair(family.rules, "fc_norm", "norm");  // of a classifier over the mean patch, which has no other
  for (const char* name : {"blocks.#.ls1.gamma", "blocks.#.ls2.gamma"}) family.rules.push_back({name, name});
  family.optional = {"norm_pre.", "patch_embed.proj.bias", "blocks.#.ls", "reg_token"};
  family.ignored = {"head.", "head_dist.", "fc_norm."};
  family.position_rows = PositionRows::kVaries;
  SetResize(family, PositionResize::kSizeAntialias);
  // timm's checkpoints come with either of two input normalisations: there is no safe default.
  family.defaults = Defaults(Activation::kGelu, 1e-6, std::nullopt, std::nullopt);
  return family;
}

// The original DINO: timm's names; only the resizing differs.
TeacherLayout DinoOriginal() {
  TeacherLayout family = TimmVit();
  family.name = "dino_original";
  family.signatures.clear();
  SetResize(family, PositionResize::kScaleOffset);
  family.defaults = Defaults(Activation::kGelu, 1e-6, kImageNetMean, kImageNetStd);
  return family;
}

// DeiT's own files: timm's names, resized without antialias.
TeacherLayout Deit() {
  TeacherLayout family = DinoOriginal();
  family.name = "deit";
  SetResize(family, PositionResize::kSize);
  return family;
}

// MAE's own files: DeiT's encoder, a fixed sin-cos table; whole ones have a decoder.
TeacherLayout Mae() {
  TeacherLayout family = Deit();
  family.name = "mae";
  family.signatures = {{"blocks.0.attn.qkv.weight", "decoder_embed.weight"}};
  family.ignored.insert(family.ignored.end(), {"mask_token", "decoder_"});
  return family;
}

// DINOv2's own files.
TeacherLayout DinoV2Original() {
  TeacherLayout family = TimmVit();
  family.name = "dinov2_original";
  family.signatures = {{"blocks.0.attn.qkv.weight", "register_tokens"},
                       {"blocks.0.ls1.gamma", "mask_token"},
                       {"blocks.0.mlp.w12.weight"}};
  family.rules.push_back({"register_tokens", "reg_token"});
  AddPair(family.rules, "blocks.#.mlp.w12", "blocks.#.mlp.fc1");
  AddPair(family.rules, "blocks.#.mlp.w3", "blocks.#.mlp.fc2");
  family.ignored = {"mask_token", "head."};
  family.position_rows = PositionRows::kClass;
  // The arguments of its hub: an offset of 0.1 without registers, antialiasing with them.
  family.resize = PositionResize::kScaleOffset;
  family.resize_with_registers = PositionResize::kSizeAntialias;
  family.defaults = Defaults(Activation::kGelu, 1e-6, kImageNetMean, kImageNetStd);
  return family;
}

TeacherLayout HfClip() {
  TeacherLayout family{
      .name = "hf_clip", .prefixes = {"vision_model."}, .signatures = {{"embeddings.class_embedding"}}};
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
  family.ignored = {"embeddings.position_ids"};
  family.ignored_outside = {"text_model.", "text_projection.", "visual_projection.", "logit_scale",
                            "classifier."};
  // OpenAI's weights use quick-GELU, LAION's GELU: the config.json says which.
  family.defaults = Defaults(std::nullopt, 1e-5, kClipMean, kClipStd);
  return family;
}

TeacherLayout OpenClip() {
  TeacherLayout family{
      .name = "open_clip", .prefixes = {"visual."}, .signatures = {{"class_embedding", "conv1.weight"}}};
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
  family.ignored = {"proj"};
  // The last three: OpenAI's own archives.
  family.ignored_outside = {"positional_embedding",
                            "transformer.",
                            "token_embedding.",
                            "ln_final.",
                            "text.",
                            "text_projection",
                            "logit_scale",
                            "logit_bias",
                            "input_resolution",
                            "context_length",
                            "vocab_size"};
  SetResize(family, PositionResize::kSizeAntialias);
  // OpenAI's weights use quick-GELU, most others GELU.
  family.defaults = Defaults(std::nullopt, 1e-5, kClipMean, kClipStd);
  return family;
}

// What HF ViT and HF DINOv2 share.
TeacherLayout HfBackbone(const std::string& name) {
  TeacherLayout family{.name = name};
  family.rules = {{"embeddings.cls_token", "cls_token"}, {"embeddings.position_embeddings", "pos_embed"}};
  AddPair(family.rules, "embeddings.patch_embeddings.projection", "patch_embed.proj");
  AddPair(family.rules, "layernorm", "norm");
  const std::string layer = "encoder.layer.#.";
  AddPair(family.rules, layer + "attention.attention.query", "blocks.#.attn.q");
  AddPair(family.rules, layer + "attention.attention.key", "blocks.#.attn.k");
  AddPair(family.rules, layer + "attention.attention.value", "blocks.#.attn.v");
  AddPair(family.rules, layer + "attention.output.dense", "blocks.#.attn.proj");
  family.ignored = {"pooler.", "embeddings.mask_token"};
  family.ignored_outside = {"classifier."};
  return family;
}

TeacherLayout HfVit() {
  TeacherLayout family = HfBackbone("hf_vit");
  family.prefixes = {"vit."};
  family.signatures = {{"encoder.layer.0.layernorm_before.weight"}};
  const std::string layer = "encoder.layer.#.";
  AddPair(family.rules, layer + "layernorm_before", "blocks.#.norm1");
  AddPair(family.rules, layer + "layernorm_after", "blocks.#.norm2");
  AddPair(family.rules, layer + "intermediate.dense", "blocks.#.mlp.fc1");
  AddPair(family.rules, layer + "output.dense", "blocks.#.mlp.fc2");
  // Google's ViTs take 0.5 and 0.5, DINO's ImageNet's values: preprocessor_config.json says which.
  family.defaults = Defaults(Activation::kGelu, 1e-12, std::nullopt, std::nullopt);
  return family;
}

TeacherLayout HfDeit() {
  TeacherLayout family = HfVit();
  family.name = "hf_deit";
  family.prefixes = {"deit."};
  family.signatures = {{"embeddings.distillation_token", "encoder.layer.0.layernorm_before.weight"}};
  family.rules.push_back({"embeddings.distillation_token", "reg_token"});
  family.ignored_outside = {"classifier.", "cls_classifier.", "distillation_classifier."};
  family.position_rows = PositionRows::kClassAndAll;
  family.defaults = Defaults(Activation::kGelu, 1e-12, kImageNetMean, kImageNetStd);
  return family;
}

TeacherLayout HfMae() {
  TeacherLayout family = HfVit();
  family.name = "hf_mae";
  family.beside = "decoder.decoder_embed.weight";
  family.ignored_outside = {"decoder."};
  family.defaults = Defaults(Activation::kGelu, 1e-12, kImageNetMean, kImageNetStd);
  return family;
}

TeacherLayout HfDinoV2() {
  TeacherLayout family = HfBackbone("hf_dinov2");
  family.prefixes = {"dinov2.", "dinov2_with_registers."};
  family.signatures = {{"encoder.layer.0.layer_scale1.lambda1"}};
  const std::string layer = "encoder.layer.#.";
  family.rules.push_back({"embeddings.register_tokens", "reg_token"});
  AddPair(family.rules, layer + "norm1", "blocks.#.norm1");
  AddPair(family.rules, layer + "norm2", "blocks.#.norm2");
  AddPair(family.rules, layer + "mlp.fc1", "blocks.#.mlp.fc1");
  AddPair(family.rules, layer + "mlp.fc2", "blocks.#.mlp.fc2");
  AddPair(family.rules, layer + "mlp.weights_in", "blocks.#.mlp.fc1");
  AddPair(family.rules, layer + "mlp.weights_out", "blocks.#.mlp.fc2");
  family.rules.push_back({layer + "layer_scale1.lambda1", "blocks.#.ls1.gamma"});
  family.rules.push_back({layer + "layer_scale2.lambda1", "blocks.#.ls2.gamma"});
  family.optional = {"reg_token"};
  family.resize_with_registers = PositionResize::kSizeAntialias;
  family.defaults = Defaults(Activation::kGelu, 1e-6, kImageNetMean, kImageNetStd);
  return family;
}

}  // namespace

const std::vector<TeacherLayout>& TeacherLayouts() {
  // A layout before those whose signature its files have too.
  static const auto& layouts = *new std::vector<TeacherLayout>{
      Mae(),   DinoV2Original(), TimmVit(),  HfClip(),       OpenClip(), HfDeit(),
      HfMae(), HfVit(),          HfDinoV2(), DinoOriginal(), Deit()};
  return layouts;
}

}  // namespace afterimage
