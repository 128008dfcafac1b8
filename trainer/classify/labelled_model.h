// What a labelled run trains.
#pragma once

#include <cstdint>
#include <span>

#include "core/vit/vit.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {

// A network with a head, seen from the loop. Not thread-safe; throws as LibTorch does (torch_status.h).
class LabelledModel {
 public:
  virtual ~LabelledModel() = default;

  // By name, sharing memory: the leaves that are trained and the buffers that training changes. What a
  // checkpoint keeps.
  virtual const ParameterMap& parameters() const = 0;

  // Before the first part of step `step`: draws what is random in it for the samples of this batch. `places`:
  // theirs in the step's whole batch.
  virtual void BeginStep(uint64_t step, std::span<const uint32_t> places) = 0;
  // Logits [b, classes] of the samples from `begin` of the batch on, differentiable. `inputs`: normalised
  // views [b, S, S, 3], or what else the run's input gives.
  virtual at::Tensor TrainingLogits(const at::Tensor& inputs, int64_t begin) = 0;
  // Without what is random, with other values of parameters(): those of an average, or rounded ones.
  virtual at::Tensor Logits(const ParameterMap& parameters, const at::Tensor& inputs) const = 0;

  // The whole network with such values, for a file.
  virtual VitWeights Network(const ParameterMap& parameters) const = 0;
};

}  // namespace afterimage::trainer
