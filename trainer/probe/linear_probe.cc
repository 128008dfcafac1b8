#include "trainer/probe/linear_probe.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

namespace afterimage::trainer {
namespace {

constexpr double kEpsilon = 1e-6;
constexpr double kMomentum = 0.1;
constexpr double kHeadDeviation = 0.01;

}  // namespace

LinearProbe::LinearProbe(VitWeights backbone, Pool pool, int64_t num_classes, uint64_t seed,
                         at::Device device)
    : backbone_(std::move(backbone)) {
  ParameterMap with_head = backbone_.parameters;
  AddHead(with_head, num_classes, seed, kHeadDeviation, pool);
  for (const char* name : {"head.weight", "head.bias"}) {
    auto node = with_head.extract(name);
    parameters_[name] = node.mapped().to(device).set_requires_grad(true);
  }
  const at::TensorOptions options = at::TensorOptions().dtype(at::kFloat).device(device);
  parameters_["bn.running_mean"] = at::zeros({backbone_.config.width}, options);
  parameters_["bn.running_var"] = at::ones({backbone_.config.width}, options);
  backbone_.parameters.clear();
  for (const auto& [name, tensor] : with_head) {
    backbone_.parameters[name] = tensor.detach().to(device, at::kFloat);
  }
}

at::Tensor LinearProbe::Features(const at::Tensor& views) const {
  c10::NoGradGuard no_grad;
  return PooledFeatures(backbone_.config, backbone_.parameters, ViewRows(views, backbone_.config.patch_size));
}

at::Tensor LinearProbe::TrainingLogits(const at::Tensor& inputs, int64_t /*begin*/) {
  const at::Tensor features = inputs.dim() == 4 ? Features(inputs) : inputs;
  const at::Tensor normalised =
      at::batch_norm(features.to(at::kFloat), {}, {}, parameters_.at("bn.running_mean"),
                     parameters_.at("bn.running_var"), /*training=*/true, kMomentum, kEpsilon,
                     /*cudnn_enabled=*/false);
  return at::linear(normalised, parameters_.at("head.weight"), parameters_.at("head.bias"));
}

at::Tensor LinearProbe::Logits(const ParameterMap& parameters, const at::Tensor& inputs) const {
  const at::Tensor features = inputs.dim() == 4 ? Features(inputs) : inputs;
  const at::Tensor normalised =
      (features - parameters.at("bn.running_mean")) / (parameters.at("bn.running_var") + kEpsilon).sqrt();
  return at::linear(normalised, parameters.at("head.weight"), parameters.at("head.bias"));
}

VitWeights LinearProbe::Network(const ParameterMap& parameters) const {
  c10::NoGradGuard no_grad;
  VitWeights network = backbone_;
  const at::Tensor weight =
      parameters.at("head.weight").detach() / (parameters.at("bn.running_var") + kEpsilon).sqrt();
  network.parameters["head.weight"] = weight;
  network.parameters["head.bias"] =
      parameters.at("head.bias").detach() - weight.matmul(parameters.at("bn.running_mean"));
  return network;
}

}  // namespace afterimage::trainer
