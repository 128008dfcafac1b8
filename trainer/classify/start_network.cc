#include "trainer/classify/start_network.h"

#include <ATen/ATen.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/vit/position_tables.h"
#include "core/vit/teacher_families.h"
#include "core/vit/torch_status.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/checkpoint_network.h"

namespace afterimage::trainer {
namespace {

bool HasFlags(const TeacherOptions& network) {
  return !network.family.empty() || network.num_heads > 0 || !network.activation.empty() ||
         !network.layer_norm_eps.empty() || !network.mean.empty() || !network.std.empty();
}

// The file of a checkpoint of ours at `path`, or empty.
std::string CheckpointAt(const std::string& path) {
  if (std::filesystem::is_directory(path)) return LatestCheckpoint(path).value_or("");
  const auto file = SafetensorsFile::Open(path);
  return file.ok() && IsCheckpoint(**file) ? path : "";
}

// Without a head; the norm behind a mean takes the place of the final norm.
void DropHead(ParameterMap& parameters) {
  parameters.erase("head.weight");
  parameters.erase("head.bias");
  for (const char* part : {"weight", "bias"}) {
    auto node = parameters.extract(absl::StrCat("fc_norm.", part));
    if (node.empty()) continue;
    node.key() = absl::StrCat("norm.", part);
    parameters.insert(std::move(node));
  }
}

absl::StatusOr<VitWeights> OfCheckpoint(const std::string& file, const StartNetworkOptions& options) {
  if (HasFlags(options.network)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, " is a checkpoint, which says what its network is: leave out the flags about it"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(
      VitWeights weights,
      NetworkOfCheckpoint(file, options.average ? ExportedWeights::kAverage : ExportedWeights::kLast));
  const int64_t size = options.network.image_size;
  if (size == 0 || size == weights.config.image_size) return weights;
  weights.config.image_size = size;
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(weights.config.Validate(), "--image-size"));
  const int64_t grid = weights.config.grid();
  at::Tensor& table = weights.parameters["pos_embed"];
  return RunTorch([&]() -> absl::StatusOr<VitWeights> {
    table = ResizePositionTable(table, grid, grid, PositionResize::kSizeAntialias);  // as timm does it
    return weights;
  });
}

std::string Decimals(const ChannelValues& values) {
  return absl::StrCat(DecimalText(values[0]), ",", DecimalText(values[1]), ",", DecimalText(values[2]));
}

absl::StatusOr<VitWeights> OfFamily(const SafetensorsFile& file, const TeacherOptions& network) {
  AFTERIMAGE_ASSIGN_OR_RETURN(TeacherModel model, LoadTeacherModel(file, network, at::kFloat));
  VitWeights weights;
  weights.config = model.config;
  weights.pixels = {Decimals(model.mean), Decimals(model.std)};
  weights.parameters = std::move(model.parameters);
  return weights;
}

}  // namespace

absl::StatusOr<StartNetwork> LoadStartNetwork(const StartNetworkOptions& options) {
  const std::string& path = options.network.weights;
  for (const char* suffix : {".pt", ".ts", ".torchscript"}) {
    if (!absl::EndsWith(path, suffix)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is a TorchScript module, whose weights cannot be trained here: give .safetensors"));
  }
  const std::string checkpoint = CheckpointAt(path);
  if (options.average && checkpoint.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no checkpoint: only those keep an average"));
  }
  StartNetwork start;
  start.source = checkpoint.empty() ? path : checkpoint;
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::OpenCheckpoint(start.source));
  start.digest = file->ContentDigest().Hex();
  if (checkpoint.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(start.weights, OfFamily(*file, options.network));
  } else {
    AFTERIMAGE_ASSIGN_OR_RETURN(start.weights, OfCheckpoint(checkpoint, options));
  }
  DropHead(start.weights.parameters);
  return start;
}

}  // namespace afterimage::trainer
