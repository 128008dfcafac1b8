#include "trainer/checkpoint/checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/tensors/safetensors.h"
#include "core/vit/tensor_file.h"

namespace afterimage::trainer {
namespace {

constexpr char kVersionKey[] = "afterimage.checkpoint";
constexpr char kVersion[] = "1";
constexpr char kStepKey[] = "step";
constexpr absl::string_view kPrefix = "checkpoint-";  // of a file's name
constexpr absl::string_view kSuffix = ".safetensors";
constexpr absl::string_view kWeights = "weights.";
constexpr absl::string_view kOptimizer = "optimizer.";
constexpr absl::string_view kAverage = "average.";

// Steps of the checkpoints in `folder`, with their paths.
std::map<uint64_t, std::string> ListCheckpoints(const std::string& folder) {
  std::map<uint64_t, std::string> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    absl::string_view text = name;
    uint64_t step = 0;
    if (absl::ConsumePrefix(&text, kPrefix) && absl::ConsumeSuffix(&text, kSuffix) &&
        absl::SimpleAtoi(text, &step)) {
      found[step] = entry.path().string();
    }
  }
  return found;
}

}  // namespace

absl::Status WriteCheckpoint(const std::string& folder, const Checkpoint& checkpoint, int keep) {
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(folder));
  ParameterMap tensors;
  for (const auto& [name, tensor] : checkpoint.weights) tensors[absl::StrCat(kWeights, name)] = tensor;
  for (const auto& [name, tensor] : checkpoint.optimizer) tensors[absl::StrCat(kOptimizer, name)] = tensor;
  for (const auto& [name, tensor] : checkpoint.average) tensors[absl::StrCat(kAverage, name)] = tensor;
  std::map<std::string, std::string> metadata = checkpoint.values;
  metadata[kVersionKey] = std::string(kVersion);  // g++ 12 warns of the assignment from a literal
  metadata[kStepKey] = absl::StrCat(checkpoint.step);
  const std::string path = CheckpointPath(folder, checkpoint.step);
  AFTERIMAGE_RETURN_IF_ERROR(
      WithContext(SaveTensors(path, tensors, metadata), absl::StrCat("write checkpoint ", path)));
  PruneCheckpoints(folder, keep);
  return absl::OkStatus();
}

std::string CheckpointPath(const std::string& folder, uint64_t step) {
  return absl::StrCat(folder, "/", kPrefix, step, kSuffix);
}

void PruneCheckpoints(const std::string& folder, int keep) {
  std::map<uint64_t, std::string> all = ListCheckpoints(folder);
  while (all.size() > static_cast<size_t>(keep)) {
    std::error_code ignored;  // an old checkpoint that stays does no harm
    std::filesystem::remove(all.begin()->second, ignored);
    all.erase(all.begin());
  }
}

bool IsCheckpoint(const SafetensorsFile& file) { return file.metadata().contains(kVersionKey); }

std::optional<std::string> LatestCheckpoint(const std::string& folder) {
  const std::map<uint64_t, std::string> all = ListCheckpoints(folder);
  if (all.empty()) return std::nullopt;
  return all.rbegin()->second;
}

absl::StatusOr<Checkpoint> ReadCheckpoint(const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  std::map<std::string, std::string> metadata = file->metadata();
  const auto version = metadata.find(kVersionKey);
  if (version == metadata.end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no checkpoint of afterimage-train"));
  }
  if (version->second != kVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " has checkpoint format version ", version->second, ", this program reads version ", kVersion,
        ": go on with the program that wrote it, or begin anew with another --out"));
  }
  Checkpoint checkpoint;
  if (!absl::SimpleAtoi(metadata[kStepKey], &checkpoint.step)) {
    return absl::DataLossError(absl::StrCat(path, ": the step is missing"));
  }
  for (const auto& [name, view] : file->tensors()) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, kWeights)) {
      checkpoint.weights[std::string(rest)] = ToTensor(view);
    } else if (absl::ConsumePrefix(&rest, kOptimizer)) {
      checkpoint.optimizer[std::string(rest)] = ToTensor(view);
    } else if (absl::ConsumePrefix(&rest, kAverage)) {
      checkpoint.average[std::string(rest)] = ToTensor(view);
    } else {
      return absl::DataLossError(absl::StrCat(path, ": unexpected tensor ", name));
    }
  }
  metadata.erase(kVersionKey);
  metadata.erase(kStepKey);
  checkpoint.values = std::move(metadata);
  return checkpoint;
}

absl::StatusOr<Checkpoint> ReadLatestCheckpoint(const std::string& path) {
  absl::StatusOr<Checkpoint> read = ReadCheckpoint(path);
  if (!absl::IsDataLoss(read.status())) return read;
  return absl::DataLossError(absl::StrCat(read.status().message(), ": the checkpoint is not whole; remove ",
                                          path, " and the run goes on from the one before it"));
}

absl::Status CopyParameters(const ParameterMap& from, const ParameterMap& to) {
  for (const auto& [name, tensor] : to) {
    const auto found = from.find(name);
    if (found == from.end())
      return absl::InvalidArgumentError(absl::StrCat("parameter ", name, " is missing"));
    if (found->second.sizes() != tensor.sizes()) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter ", name, " has ", found->second.numel(), " values, not ", tensor.numel()));
    }
  }
  for (const auto& [name, unused] : from) {
    if (!to.contains(name)) return absl::InvalidArgumentError(absl::StrCat("unexpected parameter ", name));
  }
  c10::NoGradGuard no_grad;
  for (const auto& [name, tensor] : to) at::Tensor(tensor).copy_(from.at(name));
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
