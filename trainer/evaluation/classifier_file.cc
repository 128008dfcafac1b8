#include "trainer/evaluation/classifier_file.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/checkpoint_network.h"

namespace afterimage::trainer {
namespace {

absl::StatusOr<VitWeights> Load(const std::string& path) {
  if (!std::filesystem::is_directory(path)) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
    return IsCheckpoint(*file) ? NetworkOfCheckpoint(path, ExportedWeights::kLast) : LoadVitWeights(path);
  }
  const std::string model = path + "/model.safetensors";
  if (std::filesystem::exists(model)) return LoadVitWeights(model);
  if (!LatestCheckpoint(path).has_value()) {
    return absl::NotFoundError(
        absl::StrCat(path, " has neither a model.safetensors nor a checkpoint-<step>.safetensors"));
  }
  return NetworkOfCheckpoint(path, ExportedWeights::kLast);
}

}  // namespace

absl::StatusOr<VitWeights> LoadClassifier(const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(VitWeights weights, Load(path));
  if (!weights.parameters.contains("head.weight") || !weights.parameters.contains("head.bias")) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is a network without a head: `afterimage-train finetune` or `probe` gives it one"));
  }
  return weights;
}

}  // namespace afterimage::trainer
