#include "trainer/model/classifier.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/base/status_macros.h"
#include "trainer/model/vit_init.h"

namespace afterimage::trainer {

void AddHead(ParameterMap& parameters, int64_t num_classes, uint64_t seed) {
  c10::NoGradGuard no_grad;
  const int64_t width = parameters.at("cls_token").size(-1);
  at::Tensor weight = at::empty({num_classes, width}, at::kFloat);
  weight.normal_(0.0, 0.02, InitialGenerator(seed, "head.weight"));
  parameters["head.weight"] = weight;
  parameters["head.bias"] = at::zeros({num_classes}, at::kFloat);
}

at::Tensor InputRows(const at::Tensor& pixels, int64_t patch_size, const at::Tensor& mean,
                     const at::Tensor& deviation) {
  return PatchRows(NormalizePixels(pixels, mean, deviation).permute({0, 3, 1, 2}), patch_size);
}

at::Tensor ClassifierLogits(const VitConfig& config, const ParameterMap& parameters, const at::Tensor& rows,
                            const at::Tensor& drop_path) {
  VitForwardOptions options;
  options.drop_path = drop_path;
  const VitOutput output = VitForward(config, parameters, rows, options);
  const at::Tensor cls =
      at::layer_norm(output.hidden.back().select(1, 0), {config.width}, parameters.at("norm.weight"),
                     parameters.at("norm.bias"), config.layer_norm_eps);
  return at::linear(cls, parameters.at("head.weight"), parameters.at("head.bias"));
}

absl::StatusOr<double> Top1Accuracy(const VitWeights& weights, const EvaluationViews& views) {
  constexpr int64_t kBatch = 250;
  c10::NoGradGuard no_grad;
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Tensor mean, ParseTriple(weights.pixels.mean));
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Tensor deviation, ParseTriple(weights.pixels.deviation));
  const int64_t count = static_cast<int64_t>(views.count);
  const int64_t size = views.size;
  int64_t correct = 0;
  for (int64_t begin = 0; begin < count; begin += kBatch) {
    const int64_t batch = std::min(kBatch, count - begin);
    const at::Tensor pixels =
        at::from_blob(const_cast<uint8_t*>(views.pixels.data()) + begin * size * size * 3,
                      {batch, size, size, 3}, at::kByte);
    const at::Tensor labels =
        at::from_blob(const_cast<int32_t*>(views.labels.data()) + begin, {batch}, at::kInt);
    const at::Tensor logits = ClassifierLogits(weights.config, weights.parameters,
                                               InputRows(pixels, weights.config.patch_size, mean, deviation));
    correct += logits.argmax(1).eq(labels).sum().item<int64_t>();
  }
  return static_cast<double>(correct) / static_cast<double>(count);
}

}  // namespace afterimage::trainer
