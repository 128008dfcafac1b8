#include "trainer/checkpoint/export_student.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/model/weights_file.h"
#include "trainer/pretrain/run_config.h"

namespace afterimage::trainer {

absl::Status ExportStudent(const std::string& checkpoint, const std::string& out, const std::string& dtype,
                           ExportedWeights which) {
  std::string path = checkpoint;
  if (std::filesystem::is_directory(path)) {
    const std::optional<std::string> latest = LatestCheckpoint(path);
    if (!latest.has_value())
      return absl::NotFoundError(absl::StrCat("no checkpoint-<step>.safetensors in ", path));
    path = *latest;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(Checkpoint read, ReadCheckpoint(path));
  if (!read.values.contains("step_token")) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no checkpoint of `pretrain`"));
  }
  if (which == ExportedWeights::kAverage) {
    if (read.average.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          path, " holds no average of the weights: it was trained without --ema; export without it"));
    }
    for (const auto& [name, tensor] : read.average)
      read.weights[name] = tensor;  // what is not trained has none
  }
  VitWeights weights;
  AFTERIMAGE_ASSIGN_OR_RETURN(weights.config, VitOfRunConfig(read.values["config"]));
  for (const auto& [name, tensor] : read.weights) {
    if (!absl::StartsWith(name, "align.")) weights.parameters[name] = tensor;
  }
  return WithContext(SaveVitWeights(out, weights, dtype), out);
}

}  // namespace afterimage::trainer
