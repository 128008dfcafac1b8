// A classifier from a file or a run.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {

// `path`: a file that `finetune`, `supervise`, `probe` or `export` wrote, one of their checkpoints, or the
// folder of a run (its model.safetensors, else its last checkpoint). NotFound: none there. InvalidArgument: a
// network without a head (`finetune` gives it one), and the errors of LoadVitWeights.
absl::StatusOr<VitWeights> LoadClassifier(const std::string& path);

}  // namespace afterimage::trainer
