#include "trainer/model/classifier.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/str_cat.h"
#include "trainer/model/vit_init.h"

namespace afterimage::trainer {

absl::StatusOr<Pool> ParsePool(absl::string_view name) {
  if (name == "token") return Pool::kToken;
  if (name == "mean") return Pool::kMean;
  return absl::InvalidArgumentError(absl::StrCat("unknown pooling \"", name, "\": token and mean are known"));
}

const char* PoolName(Pool pool) { return pool == Pool::kToken ? "token" : "mean"; }

void AddHead(ParameterMap& parameters, int64_t num_classes, uint64_t seed, double deviation, Pool pool) {
  c10::NoGradGuard no_grad;
  const int64_t width = parameters.at("cls_token").size(-1);
  at::Tensor weight = at::empty({num_classes, width}, at::kFloat);
  weight.normal_(0.0, deviation, InitialGenerator(seed, "head.weight"));
  parameters["head.weight"] = weight;
  parameters["head.bias"] = at::zeros({num_classes}, at::kFloat);
  if (pool == Pool::kToken) return;
  parameters.erase("norm.weight");
  parameters.erase("norm.bias");
  parameters["fc_norm.weight"] = at::ones({width}, at::kFloat);
  parameters["fc_norm.bias"] = at::zeros({width}, at::kFloat);
}

at::Tensor ViewRows(const at::Tensor& views, int64_t patch_size) {
  return PatchRows(views.permute({0, 3, 1, 2}), patch_size);
}

at::Tensor PooledFeatures(const VitConfig& config, const ParameterMap& parameters, const at::Tensor& rows,
                          const at::Tensor& drop_path) {
  VitForwardOptions options;
  options.drop_path = drop_path;
  const at::Tensor last = VitForward(config, parameters, rows, options).hidden.back();
  const bool mean = parameters.contains("fc_norm.weight");
  const at::Tensor pooled = mean ? last.slice(1, 1).mean(1) : last.select(1, 0);
  const std::string norm = mean ? "fc_norm" : "norm";
  return at::layer_norm(pooled, {config.width}, parameters.at(norm + ".weight"),
                        parameters.at(norm + ".bias"), config.layer_norm_eps);
}

at::Tensor ClassifierLogits(const VitConfig& config, const ParameterMap& parameters, const at::Tensor& rows,
                            const at::Tensor& drop_path) {
  return at::linear(PooledFeatures(config, parameters, rows, drop_path), parameters.at("head.weight"),
                    parameters.at("head.bias"));
}

}  // namespace afterimage::trainer
