#include <string>

#include "absl/strings/str_cat.h"
#include "core/vit/vit.h"

namespace afterimage {

absl::Status VitConfig::Validate() const {
  const std::pair<const char*, int64_t> sizes[] = {{"image_size", image_size}, {"patch_size", patch_size},
                                                   {"width", width},           {"depth", depth},
                                                   {"heads", heads},           {"mlp_width", mlp_width}};
  for (const auto& [name, value] : sizes) {
    if (value < 1) return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", below 1"));
  }
  if (image_size % patch_size != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("patches of ", patch_size, " pixels do not divide an image of ", image_size,
                     ": choose a size that is a multiple of ", patch_size));
  }
  if (width % heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(heads, " heads do not divide a width of ", width, ": choose a number that does"));
  }
  if (num_registers < 0) return absl::InvalidArgumentError("num_registers is negative");
  if (!(layer_norm_eps >= 0)) return absl::InvalidArgumentError("layer_norm_eps is negative or no number");
  return absl::OkStatus();
}

Json VitConfig::ToCanonical() const {
  Json json = {
      {"activation", ActivationName(activation)},
      {"depth", depth},
      {"heads", heads},
      {"image_size", image_size},
      {"layer_norm_eps", DecimalText(layer_norm_eps)},
      {"layer_scale", layer_scale},
      {"mlp_width", mlp_width},
      {"patch_bias", patch_bias},
      {"patch_size", patch_size},
      {"pre_norm", pre_norm},
      {"width", width},
  };
  // Only where there are some: what was known before registers keeps its ids.
  if (num_registers > 0) json["num_registers"] = num_registers;
  return json;
}

const char* ActivationName(Activation activation) {
  switch (activation) {
    case Activation::kQuickGelu:
      return "quick_gelu";
    case Activation::kSwiGlu:
      return "swiglu";
    case Activation::kGelu:
      break;
  }
  return "gelu";
}

absl::StatusOr<Activation> ParseActivation(absl::string_view name) {
  if (name == "gelu") return Activation::kGelu;
  if (name == "quick_gelu") return Activation::kQuickGelu;
  if (name == "swiglu") return Activation::kSwiGlu;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown activation \"", name, "\": gelu, quick_gelu or swiglu"));
}

std::map<std::string, std::vector<int64_t>> VitParameterShapes(const VitConfig& config) {
  const int64_t width = config.width;
  std::map<std::string, std::vector<int64_t>> shapes;
  const auto add_pair = [&shapes](const std::string& name, std::vector<int64_t> weight) {
    shapes[name + ".bias"] = {weight[0]};
    shapes[name + ".weight"] = std::move(weight);
  };
  const int64_t fc1_rows = config.activation == Activation::kSwiGlu ? 2 * config.mlp_width : config.mlp_width;
  shapes["cls_token"] = {1, 1, width};
  if (config.num_registers > 0) shapes["reg_token"] = {1, config.num_registers, width};
  shapes["pos_embed"] = {1, 1 + config.num_patches(), width};
  shapes["patch_embed.proj.weight"] = {width, 3, config.patch_size, config.patch_size};
  if (config.patch_bias) shapes["patch_embed.proj.bias"] = {width};
  if (config.pre_norm) add_pair("norm_pre", {width});
  for (int64_t i = 0; i < config.depth; ++i) {
    const std::string block = absl::StrCat("blocks.", i, ".");
    add_pair(block + "norm1", {width});
    add_pair(block + "attn.qkv", {3 * width, width});
    add_pair(block + "attn.proj", {width, width});
    add_pair(block + "norm2", {width});
    add_pair(block + "mlp.fc1", {fc1_rows, width});
    add_pair(block + "mlp.fc2", {width, config.mlp_width});
    if (config.layer_scale) {
      shapes[block + "ls1.gamma"] = {width};
      shapes[block + "ls2.gamma"] = {width};
    }
  }
  add_pair("norm", {width});
  return shapes;
}

double VitForwardMacs(const VitConfig& config, int64_t num_patches) {
  const double tokens = 1.0 + static_cast<double>(config.num_registers + num_patches);
  const double width = static_cast<double>(config.width);
  const double patch = static_cast<double>(num_patches * 3 * config.patch_size * config.patch_size) * width;
  const double mlp_matrices = config.activation == Activation::kSwiGlu ? 3 : 2;
  // Per block: qkv and the output projection (3 + 1), the MLP matrices, and q k^T and its product with v.
  const double block =
      tokens * (4 * width * width + mlp_matrices * width * static_cast<double>(config.mlp_width)) +
      2 * tokens * tokens * width;
  return patch + static_cast<double>(config.depth) * block;
}

}  // namespace afterimage
