#include "trainer/model/hf_vit.h"

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

constexpr double kRescaleFactor = 1.0 / 255.0;
constexpr int kBicubic = 3;  // PIL.Image.BICUBIC

absl::Status CheckExpressible(const VitWeights& weights) {
  const VitConfig& config = weights.config;
  std::vector<absl::string_view> without;
  if (config.pre_norm) without.push_back("LayerNorm before block 1");
  if (config.layer_scale) without.push_back("LayerScale");
  if (config.num_registers > 0) without.push_back("registers");
  if (config.activation == Activation::kSwiGlu) without.push_back("gated MLP");
  if (!config.patch_bias) without.push_back("patch embedding without bias");
  if (weights.parameters.contains("fc_norm.weight")) without.push_back("head behind mean pooling (fc_norm)");
  if (without.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("transformers' ViT classes have no ",
                                                 absl::StrJoin(without, ", no "),
                                                 ": write timm's names (--names timm)"));
}

void PutPair(ParameterMap& tensors, const ParameterMap& from, const std::string& ours,
             const std::string& theirs) {
  for (const char* part : {".weight", ".bias"}) tensors[theirs + part] = from.at(ours + part);
}

void PutBlock(ParameterMap& tensors, const ParameterMap& from, const std::string& ours,
              const std::string& theirs) {
  PutPair(tensors, from, ours + "norm1", theirs + "layernorm_before");
  for (const char* part : {".weight", ".bias"}) {
    const std::vector<at::Tensor> thirds = from.at(absl::StrCat(ours, "attn.qkv", part)).chunk(3, 0);
    const char* const names[] = {"query", "key", "value"};
    for (size_t i = 0; i < 3; ++i)
      tensors[absl::StrCat(theirs, "attention.attention.", names[i], part)] = thirds[i].contiguous();
  }
  PutPair(tensors, from, ours + "attn.proj", theirs + "attention.output.dense");
  PutPair(tensors, from, ours + "norm2", theirs + "layernorm_after");
  PutPair(tensors, from, ours + "mlp.fc1", theirs + "intermediate.dense");
  PutPair(tensors, from, ours + "mlp.fc2", theirs + "output.dense");
}

Json ConfigOf(const VitWeights& weights) {
  const VitConfig& config = weights.config;
  const bool classifies = weights.parameters.contains("head.weight");
  Json json = {{"architectures", {classifies ? "ViTForImageClassification" : "ViTModel"}},
               {"model_type", "vit"},
               {"hidden_size", config.width},
               {"num_hidden_layers", config.depth},
               {"num_attention_heads", config.heads},
               {"intermediate_size", config.mlp_width},
               {"hidden_act", ActivationName(config.activation)},
               {"layer_norm_eps", config.layer_norm_eps},
               {"image_size", config.image_size},
               {"patch_size", config.patch_size},
               {"num_channels", 3},
               {"qkv_bias", true},
               {"hidden_dropout_prob", 0.0},
               {"attention_probs_dropout_prob", 0.0}};
  if (!classifies) return json;
  const auto num_classes = static_cast<size_t>(weights.parameters.at("head.weight").size(0));
  Json names = Json::object(), numbers = Json::object();
  for (size_t i = 0; i < num_classes; ++i) {
    const std::string name = weights.class_names.empty() ? absl::StrCat("LABEL_", i) : weights.class_names[i];
    names[absl::StrCat(i)] = name;
    numbers[name] = i;
  }
  json["id2label"] = names;
  json["label2id"] = numbers;
  return json;
}

absl::StatusOr<Json> PreprocessorOf(const VitWeights& weights) {
  const auto channels = [](const std::string& text) -> absl::StatusOr<Json> {
    Json list = Json::array();
    for (const absl::string_view part : absl::StrSplit(text, ',')) {
      AFTERIMAGE_ASSIGN_OR_RETURN(const double value, ParseDecimal(part));
      list.push_back(value);
    }
    return list;
  };
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json mean, channels(weights.pixels.mean));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json deviation, channels(weights.pixels.deviation));
  const int64_t size = weights.config.image_size;
  return Json{{"image_processor_type", "ViTImageProcessor"},
              {"do_resize", true},
              {"size", {{"height", size}, {"width", size}}},
              {"resample", kBicubic},
              {"do_rescale", true},
              {"rescale_factor", kRescaleFactor},
              {"do_normalize", true},
              {"image_mean", mean},
              {"image_std", deviation}};
}

}  // namespace

absl::StatusOr<HfVit> ToHfVit(const VitWeights& weights) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckExpressible(weights));
  const ParameterMap& from = weights.parameters;
  const bool classifies = from.contains("head.weight");
  const std::string tower = classifies ? "vit." : "";
  HfVit hf;
  hf.tensors[tower + "embeddings.cls_token"] = from.at("cls_token");
  hf.tensors[tower + "embeddings.position_embeddings"] = from.at("pos_embed");
  PutPair(hf.tensors, from, "patch_embed.proj", tower + "embeddings.patch_embeddings.projection");
  for (int64_t i = 0; i < weights.config.depth; ++i) {
    PutBlock(hf.tensors, from, absl::StrCat("blocks.", i, "."),
             absl::StrCat(tower, "encoder.layer.", i, "."));
  }
  PutPair(hf.tensors, from, "norm", tower + "layernorm");
  if (classifies) PutPair(hf.tensors, from, "head", "classifier");
  hf.config = ConfigOf(weights);
  AFTERIMAGE_ASSIGN_OR_RETURN(hf.preprocessor, PreprocessorOf(weights));
  return hf;
}

}  // namespace afterimage::trainer
