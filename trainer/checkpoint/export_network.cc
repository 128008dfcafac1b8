#include "trainer/checkpoint/export_network.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/vit/tensor_file.h"
#include "trainer/model/hf_vit.h"

namespace afterimage::trainer {
namespace {

// A run's folder has a config.json of its own, which must not be lost.
absl::Status CheckNoOtherConfig(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(text.status());
  const Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains("model_type")) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat(path, " is there and none of transformers: give a folder of its own with --out"));
}

absl::StatusOr<std::vector<std::string>> WriteHfFolder(const VitWeights& weights,
                                                       const ExportOptions& options) {
  if (absl::EndsWith(options.out, ".safetensors")) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.out,
                     ": with --names hf, --out is a folder, for model.safetensors, config.json "
                     "and preprocessor_config.json"));
  }
  const std::vector<std::string> paths = {options.out + "/model.safetensors", options.out + "/config.json",
                                          options.out + "/preprocessor_config.json"};
  AFTERIMAGE_ASSIGN_OR_RETURN(const HfVit hf, ToHfVit(weights));
  AFTERIMAGE_ASSIGN_OR_RETURN(const ParameterMap tensors, InExportType(hf.tensors, options.dtype));
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(options.out));
  AFTERIMAGE_RETURN_IF_ERROR(CheckNoOtherConfig(paths[1]));
  AFTERIMAGE_RETURN_IF_ERROR(SaveTensors(paths[0], tensors, {{"format", "pt"}}));
  AFTERIMAGE_RETURN_IF_ERROR(WriteFileAtomically(paths[1], hf.config.dump(2) + "\n"));
  AFTERIMAGE_RETURN_IF_ERROR(WriteFileAtomically(paths[2], hf.preprocessor.dump(2) + "\n"));
  return paths;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ExportNetwork(const ExportOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const VitWeights weights,
                              NetworkOfCheckpoint(options.checkpoint, options.weights));
  if (options.names == ExportedNames::kHuggingFace) return WriteHfFolder(weights, options);
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(SaveVitWeights(options.out, weights, options.dtype), options.out));
  return std::vector<std::string>{options.out};
}

}  // namespace afterimage::trainer
