#include "trainer/model/vit_init.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "absl/strings/match.h"
#include "core/base/digest.h"

namespace afterimage::trainer {

at::Generator InitialGenerator(uint64_t seed, const std::string& name) {
  std::string text = name;
  AppendLittleEndian(seed, text);
  return at::detail::createCPUGenerator(Xxh3_64(AsBytes(text)));
}

void XavierUniform(at::Tensor& matrix, at::Generator generator) {
  const double fan_out = static_cast<double>(matrix.size(0));
  const double fan_in = static_cast<double>(matrix.numel()) / fan_out;
  const double bound = std::sqrt(6.0 / (fan_in + fan_out));
  matrix.uniform_(-bound, bound, std::move(generator));
}

ParameterMap NewVit(const VitConfig& config, uint64_t seed) {
  c10::NoGradGuard no_grad;
  ParameterMap parameters;
  for (const auto& [name, shape] : VitParameterShapes(config)) {
    at::Tensor tensor = at::zeros(shape, at::kFloat);
    at::Generator generator = InitialGenerator(seed, name);
    if (name == "pos_embed") {
      tensor = SinCosPositions(config.width, config.grid()).to(at::kFloat);
    } else if (name == "cls_token") {
      tensor.normal_(0.0, 0.02, generator);
    } else if (name == "patch_embed.proj.bias") {
      const double bound = 1.0 / std::sqrt(3.0 * config.patch_size * config.patch_size);
      tensor.uniform_(-bound, bound, generator);
    } else if (absl::EndsWith(name, ".gamma")) {
      tensor.fill_(1.0);
    } else if (tensor.dim() > 1) {
      XavierUniform(tensor, generator);
    } else if (absl::EndsWith(name, ".weight")) {
      tensor.fill_(1.0);  // a LayerNorm
    }
    parameters[name] = tensor;
  }
  return parameters;
}

bool NamedVit(const std::string& name, VitConfig& config) {
  struct Size {
    const char* name;
    int64_t width, depth, heads;
  };
  static constexpr Size kSizes[] = {{"vit_tiny", 192, 12, 3},
                                    {"vit_small", 384, 12, 6},
                                    {"vit_base", 768, 12, 12},
                                    {"vit_large", 1024, 24, 16},
                                    {"vit_huge", 1280, 32, 16}};
  for (const Size& size : kSizes) {
    if (name != size.name) continue;
    config.width = size.width;
    config.depth = size.depth;
    config.heads = size.heads;
    config.mlp_width = 4 * size.width;
    return true;
  }
  return false;
}

}  // namespace afterimage::trainer
