// Fine-tuning: a pretrained vision transformer becomes a classifier.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "trainer/classify/labelled_run.h"
#include "trainer/classify/start_network.h"

namespace afterimage::trainer {

// The defaults are those of maskalign.md section 1.9 for ViT-B.
struct FinetuneOptions {
  StartNetworkOptions start;
  std::string pool = "mean";  // what the head sees: "mean" (behind a new fc_norm) or "token"
  double layer_decay = 0.55;
  double drop_path = 0.2;
  LabelledOptions run = Defaults();

  static LabelledOptions Defaults();
};

// The head is always a new one (N(0, 2e-5), zero bias), also where the weights have one. Every parameter is
// trained, positions included. InvalidArgument: options out of range; errors of LoadStartNetwork; images
// without labels, or of other classes than the held-out ones; and the errors of RunLabelled. This rank leaves
// the others when it returns.
absl::StatusOr<LabelledSummary> Finetune(const FinetuneOptions& options, Communicator& ranks);
// Alone.
absl::StatusOr<LabelledSummary> Finetune(const FinetuneOptions& options);

}  // namespace afterimage::trainer
