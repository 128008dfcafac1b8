// `forward` over the steps of tests/golden.
#pragma once

#include <string>

#include "tests/core/vit/golden.h"
#include "trainer/forward/forward.h"

namespace afterimage::trainer {

// What the flags say of a golden step.
inline ForwardOptions StepOptions(const testing::GoldenFile& golden, const std::string& dtype) {
  const auto& config = golden.config();
  const auto& method = config["method"];
  ForwardOptions options;
  options.weights = options.input = golden.weights_path();
  options.dtype = dtype;
  options.student = {.heads = config["student"]["heads"],
                     .fusion = method["fusion_type"],
                     .head = method["head_type"],
                     .target_norm = method["target_norm"],
                     .loss_type = method["loss_type"],
                     .loss_weights = method["loss_weights"]};
  options.teacher.num_heads = config["teacher"]["heads"];
  if (config["teacher"]["patch"] == 14) options.teacher.input_size = 196;
  options.mask_ratio = config["mask_ratio"];
  options.drop_path = config["student"]["drop_path_rate"];
  options.gradients = {"all"};
  return options;
}

}  // namespace afterimage::trainer
