// A whole vision transformer with its head, all of it trained.
#pragma once

#include "trainer/classify/labelled_model.h"

namespace afterimage::trainer {

class VitClassifier : public LabelledModel {
 public:
  // `weights` with a head (AddHead); every parameter is trained. `seed`: of drop path.
  VitClassifier(VitWeights weights, double drop_path, uint64_t seed, at::Device device);

  const ParameterMap& parameters() const override { return weights_.parameters; }
  void BeginStep(uint64_t step, std::span<const uint32_t> places) override;
  at::Tensor TrainingLogits(const at::Tensor& inputs, int64_t begin) override;
  at::Tensor Logits(const ParameterMap& parameters, const at::Tensor& inputs) const override;
  VitWeights Network(const ParameterMap& parameters) const override;

 private:
  VitWeights weights_;
  const double drop_path_;
  const uint64_t seed_;
  const at::Device device_;
  at::Tensor factors_;  // of this step's drop path
};

}  // namespace afterimage::trainer
