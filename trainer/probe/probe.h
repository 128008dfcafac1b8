// Linear probing: how well a linear layer does on frozen features.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "trainer/classify/labelled_run.h"
#include "trainer/classify/start_network.h"

namespace afterimage::trainer {

// The defaults are MAE's recipe (maskalign.md section 1.10) but for the batch.
struct ProbeOptions {
  StartNetworkOptions start;
  std::string pool = "token";      // or "mean"
  std::string optimizer = "lars";  // or "sgd", with momentum
  double momentum = 0.9;
  // New random crops and flips in every epoch, each through the network. Otherwise the features of views of
  // evaluation, computed once and kept in memory as `features_dtype`.
  bool random_crops = true;
  std::string features_dtype = "f32";  // or "f16"
  LabelledOptions run = Defaults();

  static LabelledOptions Defaults();
};

// The network is frozen; the features of the held-out images are computed once. model.safetensors is the
// network with the probe as its head. Errors as Finetune; Cancelled: stopped while features were computed.
absl::StatusOr<LabelledSummary> Probe(const ProbeOptions& options);

}  // namespace afterimage::trainer
