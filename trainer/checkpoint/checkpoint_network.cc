#include "trainer/checkpoint/checkpoint_network.h"

#include <filesystem>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"
#include "trainer/checkpoint/checkpoint.h"

namespace afterimage::trainer {
namespace {

// The student's, as a checkpoint of `pretrain` describes it.
absl::StatusOr<VitConfig> VitOfPretrainConfig(const std::string& config) {
  const Json json = Json::parse(config, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("the configuration is no JSON object");
  VitConfig vit;
  AFTERIMAGE_ASSIGN_OR_RETURN(vit.image_size, IntegerField(json, "image_size"));
  AFTERIMAGE_ASSIGN_OR_RETURN(vit.patch_size, IntegerField(json, "patch_size"));
  AFTERIMAGE_ASSIGN_OR_RETURN(vit.width, IntegerField(json, "width"));
  AFTERIMAGE_ASSIGN_OR_RETURN(vit.depth, IntegerField(json, "depth"));
  AFTERIMAGE_ASSIGN_OR_RETURN(vit.heads, IntegerField(json, "heads"));
  vit.mlp_width = 4 * vit.width;
  return vit;
}

}  // namespace

absl::StatusOr<std::string> CheckpointFile(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return path;
  const std::optional<std::string> latest = LatestCheckpoint(path);
  if (!latest.has_value())
    return absl::NotFoundError(absl::StrCat("no checkpoint-<step>.safetensors in ", path));
  return *latest;
}

absl::StatusOr<VitWeights> NetworkOfCheckpoint(const std::string& path, ExportedWeights which) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string file, CheckpointFile(path));
  AFTERIMAGE_ASSIGN_OR_RETURN(Checkpoint read, ReadCheckpoint(file));
  const bool of_pretrain = read.values.contains("step_token");
  if (!of_pretrain && !read.values.contains(kNetworkValue)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file,
                     " is a checkpoint that does not say its network: those of `pretrain`, `finetune` and "
                     "`supervise` do; that of `probe` is in the model.safetensors of its run"));
  }
  if (which == ExportedWeights::kAverage) {
    if (read.average.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          file, " holds no average of the weights: it was trained without --ema; export without it"));
    }
    for (const auto& [name, tensor] : read.average)
      read.weights[name] = tensor;  // what is not trained has none
  }
  VitWeights weights;
  for (const auto& [name, tensor] : read.weights) {
    if (!absl::StartsWith(name, "align.")) weights.parameters[name] = tensor;
  }
  if (of_pretrain) {
    AFTERIMAGE_ASSIGN_OR_RETURN(weights.config, VitOfPretrainConfig(read.values["config"]));
  } else {
    AFTERIMAGE_RETURN_IF_ERROR(WithContext(ReadNetworkText(read.values[kNetworkValue], weights), file));
  }
  return weights;
}

}  // namespace afterimage::trainer
