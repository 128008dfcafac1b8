#include "trainer/classify/vit_classifier.h"

#include <ATen/ATen.h>

#include <utility>

#include "trainer/model/classifier.h"
#include "trainer/model/drop_path.h"

namespace afterimage::trainer {

VitClassifier::VitClassifier(VitWeights weights, double drop_path, uint64_t seed, at::Device device)
    : weights_(std::move(weights)), drop_path_(drop_path), seed_(seed), device_(device) {
  for (auto& [name, parameter] : weights_.parameters) {
    parameter = parameter.detach().to(device_, at::kFloat).set_requires_grad(true);
  }
}

void VitClassifier::BeginStep(uint64_t step, std::span<const uint32_t> places) {
  factors_ = DropPathFactors(drop_path_, weights_.config.depth, places, seed_, step);
  if (factors_.defined()) factors_ = factors_.to(device_);
}

at::Tensor VitClassifier::TrainingLogits(const at::Tensor& inputs, int64_t begin) {
  const at::Tensor factors = factors_.defined() ? factors_.narrow(2, begin, inputs.size(0)) : factors_;
  return ClassifierLogits(weights_.config, weights_.parameters, ViewRows(inputs, weights_.config.patch_size),
                          factors);
}

at::Tensor VitClassifier::Logits(const ParameterMap& parameters, const at::Tensor& inputs) const {
  return ClassifierLogits(weights_.config, parameters, ViewRows(inputs, weights_.config.patch_size));
}

VitWeights VitClassifier::Network(const ParameterMap& parameters) const {
  VitWeights network = weights_;
  network.parameters = parameters;
  return network;
}

}  // namespace afterimage::trainer
