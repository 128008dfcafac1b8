#include "trainer/model/weights_file.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/base/status_macros.h"
#include "core/tensors/safetensors.h"
#include "core/vit/teacher_settings.h"
#include "core/vit/tensor_file.h"

namespace afterimage::trainer {
namespace {

std::string ShapeText(at::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape.begin(), shape.end(), ", "), "]");
}

absl::Status CheckShapes(const VitWeights& weights) {
  std::map<std::string, std::vector<int64_t>> wanted = VitParameterShapes(weights.config);
  const ParameterMap& parameters = weights.parameters;
  if (parameters.contains("fc_norm.weight")) {
    for (const char* part : {".weight", ".bias"}) {
      wanted.erase(absl::StrCat("norm", part));
      wanted[absl::StrCat("fc_norm", part)] = {weights.config.width};
    }
  }
  const auto head = parameters.find("head.weight");
  if (head != parameters.end()) {
    const int64_t num_classes = head->second.size(0);
    wanted["head.weight"] = {num_classes, weights.config.width};
    wanted["head.bias"] = {num_classes};
    if (!weights.class_names.empty() && static_cast<int64_t>(weights.class_names.size()) != num_classes) {
      return absl::InvalidArgumentError(
          absl::StrCat(weights.class_names.size(), " class names for a head of ", num_classes, " classes"));
    }
  }
  return CheckParameterShapes(parameters, wanted);
}

}  // namespace

absl::Status ReadVitShapes(const ParameterMap& parameters, VitConfig& config) {
  const auto cls = parameters.find("cls_token");
  const auto fc1 = parameters.find("blocks.0.mlp.fc1.weight");
  if (cls == parameters.end() || fc1 == parameters.end() || cls->second.dim() < 1 || fc1->second.dim() != 2) {
    return absl::InvalidArgumentError("cls_token or blocks.0.mlp.fc1.weight is missing, or of another kind");
  }
  config.width = cls->second.size(-1);
  config.mlp_width = fc1->second.size(0);
  config.depth = 0;
  while (parameters.contains(absl::StrCat("blocks.", config.depth, ".norm1.weight"))) ++config.depth;
  config.patch_bias = parameters.contains("patch_embed.proj.bias");
  config.pre_norm = parameters.contains("norm_pre.weight");
  config.layer_scale = parameters.contains("blocks.0.ls1.gamma");
  return absl::OkStatus();
}

absl::Status CheckParameterShapes(const ParameterMap& parameters,
                                  const std::map<std::string, std::vector<int64_t>>& wanted,
                                  const std::set<std::string>& optional,
                                  const std::function<std::string(const std::string&)>& file_name) {
  const auto called = [&](const std::string& name) { return file_name ? file_name(name) : name; };
  for (const auto& [name, shape] : wanted) {
    const auto found = parameters.find(name);
    if (found == parameters.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", called(name), " ", ShapeText(shape), " is missing"));
    }
    if (found->second.sizes() != at::IntArrayRef(shape)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", called(name), " has the shape ",
                                                     ShapeText(found->second.sizes()), ", not ",
                                                     ShapeText(shape)));
    }
  }
  for (const auto& [name, tensor] : parameters) {
    if (wanted.contains(name) || optional.contains(name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected tensor ", called(name), " ", ShapeText(tensor.sizes())));
  }
  return absl::OkStatus();
}

std::string NetworkText(const VitWeights& weights) {
  const VitConfig& config = weights.config;
  Json json = {{"image_size", config.image_size},
               {"patch_size", config.patch_size},
               {"heads", config.heads},
               {"activation", ActivationName(config.activation)},
               {"layer_norm_eps", DecimalText(config.layer_norm_eps)},
               {"mean", weights.pixels.mean},
               {"std", weights.pixels.deviation}};
  if (!weights.class_names.empty()) json["classes"] = weights.class_names;
  return json.dump();
}

absl::Status ReadNetworkText(absl::string_view text, VitWeights& weights) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("the network's description is no JSON object");
  VitConfig& config = weights.config;
  AFTERIMAGE_ASSIGN_OR_RETURN(config.image_size, IntegerField(json, "image_size"));
  AFTERIMAGE_ASSIGN_OR_RETURN(config.patch_size, IntegerField(json, "patch_size"));
  AFTERIMAGE_ASSIGN_OR_RETURN(config.heads, IntegerField(json, "heads"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string activation, TextField(json, "activation"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string eps, TextField(json, "layer_norm_eps"));
  AFTERIMAGE_ASSIGN_OR_RETURN(config.layer_norm_eps, ParseDecimal(eps));
  AFTERIMAGE_ASSIGN_OR_RETURN(weights.pixels.mean, TextField(json, "mean"));
  AFTERIMAGE_ASSIGN_OR_RETURN(weights.pixels.deviation, TextField(json, "std"));
  AFTERIMAGE_ASSIGN_OR_RETURN(config.activation, ParseActivation(activation));
  weights.class_names.clear();
  const auto classes = json.find("classes");
  if (classes != json.end()) {
    const bool texts = classes->is_array() &&
                       std::ranges::all_of(*classes, [](const Json& name) { return name.is_string(); });
    if (!texts) return absl::InvalidArgumentError("\"classes\" is no list of names");
    weights.class_names = classes->get<std::vector<std::string>>();
  }
  AFTERIMAGE_RETURN_IF_ERROR(ReadVitShapes(weights.parameters, config));
  AFTERIMAGE_RETURN_IF_ERROR(config.Validate());
  return CheckShapes(weights);
}

absl::Status SaveVitWeights(const std::string& path, const VitWeights& weights, const std::string& dtype) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckShapes(weights));
  AFTERIMAGE_ASSIGN_OR_RETURN(ParameterMap tensors, InExportType(weights.parameters, dtype));
  return SaveTensors(path, tensors, {{kConfigMetadataKey, NetworkText(weights)}, {"format", "pt"}});
}

absl::StatusOr<ParameterMap> InExportType(const ParameterMap& parameters, const std::string& dtype) {
  if (dtype != "f32" && dtype != "f16") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown export type \"", dtype, "\": f32 and f16 are known"));
  }
  ParameterMap tensors;
  for (const auto& [name, tensor] : parameters) {
    tensors[name] = tensor.detach().to(dtype == "f16" ? at::kHalf : at::kFloat);
  }
  return tensors;
}

absl::StatusOr<VitWeights> LoadVitWeights(const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  const auto text = file->metadata().find(kConfigMetadataKey);
  if (text == file->metadata().end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has no \"", kConfigMetadataKey, "\" in its metadata: it was not written by ",
                     "afterimage-train (a checkpoint becomes such a file by `afterimage-train export`)"));
  }
  VitWeights weights;
  for (const auto& [name, view] : file->tensors()) weights.parameters[name] = ToTensor(view, at::kFloat);
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(ReadNetworkText(text->second, weights), path));
  return weights;
}

at::Tensor NormalizePixels(const at::Tensor& pixels, const at::Tensor& mean, const at::Tensor& deviation) {
  return pixels.to(mean.scalar_type()).div_(255.0).sub_(mean).div_(deviation);
}

absl::StatusOr<at::Tensor> ParseTriple(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  if (parts.size() != 3)
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not three decimals with commas"));
  at::Tensor triple = at::empty({3}, at::kFloat);
  for (int i = 0; i < 3; ++i) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const double value, ParseDecimal(parts[i]));
    triple.data_ptr<float>()[i] = static_cast<float>(value);
  }
  return triple;
}

}  // namespace afterimage::trainer
