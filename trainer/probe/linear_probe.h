// A linear layer on the features of a frozen vision transformer.
#pragma once

#include "trainer/classify/labelled_model.h"
#include "trainer/model/classifier.h"

namespace afterimage::trainer {

// MAE's probe (maskalign.md section 1.10): pooled features, BatchNorm without affine (eps 1e-6, momentum
// 0.1), linear layer from N(0, 0.01). Parameters: "head.*", and the buffers "bn.running_mean",
// "bn.running_var".
class LinearProbe : public LabelledModel {
 public:
  // `backbone` without a head. With Pool::kMean its final norm gives way to one without affine.
  LinearProbe(VitWeights backbone, Pool pool, int64_t num_classes, uint64_t seed, at::Device device);

  // Normalised views [B, S, S, 3] -> features [B, D], without gradient.
  at::Tensor Features(const at::Tensor& views) const;

  const ParameterMap& parameters() const override { return parameters_; }
  void BeginStep(uint64_t, std::span<const uint32_t>) override {}  // nothing is random
  // `inputs`: views, or their features [b, D]. BatchNorm takes the statistics of the b samples.
  at::Tensor TrainingLogits(const at::Tensor& inputs, int64_t begin) override;
  at::Tensor Logits(const ParameterMap& parameters, const at::Tensor& inputs) const override;
  // The classifier that computes the same: the BatchNorm is folded into the head.
  VitWeights Network(const ParameterMap& parameters) const override;

 private:
  VitWeights backbone_;
  ParameterMap parameters_;
};

}  // namespace afterimage::trainer
