// From a checkpoint to a network for others.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint_network.h"

namespace afterimage::trainer {

enum class ExportedNames { kTimm, kHuggingFace };

struct ExportOptions {
  std::string checkpoint;  // a file, or a run's folder: its latest
  std::string out;         // timm: the .safetensors file to write; Hugging Face: a folder
  std::string dtype = "f32";
  ExportedWeights weights = ExportedWeights::kLast;
  ExportedNames names = ExportedNames::kTimm;
};

// Writes the network of a checkpoint and returns the paths of what was written.
// timm: as SaveVitWeights does. A student has the final norm as it began (1 and 0) and no head; timm loads it
// strictly with num_classes=0, afterimage-precompute takes it as a teacher.
// Hugging Face: model.safetensors, config.json and preprocessor_config.json in the folder, as
// `ViTModel.from_pretrained` (or ViTForImageClassification's) takes it; precompute takes it too.
// Errors of NetworkOfCheckpoint. InvalidArgument: --out of the wrong kind; what HF's classes do not have.
// AlreadyExists: the folder holds a config.json of another kind, such as a run's.
absl::StatusOr<std::vector<std::string>> ExportNetwork(const ExportOptions& options);

}  // namespace afterimage::trainer
