// Everything that affects the next step, in one file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

struct Checkpoint {
  uint64_t step = 0;  // steps done
  ParameterMap weights;
  ParameterMap optimizer;                     // AdamW::State
  std::map<std::string, std::string> values;  // configuration, step token, … under names of the caller
  ParameterMap average;                       // of the weights (WeightAverage); empty where none is kept
};

// <folder>/checkpoint-<step>.safetensors: written aside, synced, renamed; then all but the last `keep` are
// removed. Tensors are "weights.<name>", "optimizer.<name>" and "average.<name>". ResourceExhausted: disk
// full; what was there before stays.
absl::Status WriteCheckpoint(const std::string& folder, const Checkpoint& checkpoint, int keep = 2);

// <folder>/checkpoint-<step>.safetensors
std::string CheckpointPath(const std::string& folder, uint64_t step);

// Removes all but the last `keep` of the folder's checkpoints.
void PruneCheckpoints(const std::string& folder, int keep);

// Whether the file says that it is a checkpoint, of whatever format version.
bool IsCheckpoint(const SafetensorsFile& file);

// Path of the checkpoint with the highest step in `folder`, if there is one.
std::optional<std::string> LatestCheckpoint(const std::string& folder);

// DataLoss: not whole. FailedPrecondition: another format version (both told).
absl::StatusOr<Checkpoint> ReadCheckpoint(const std::string& path);

// As ReadCheckpoint, for a run that goes on from its last one: the errors tell the remedy.
absl::StatusOr<Checkpoint> ReadLatestCheckpoint(const std::string& path);

// Copies `from` into the parameters of the same name. InvalidArgument names what is missing, extra or of
// another shape; then nothing has changed.
absl::Status CopyParameters(const ParameterMap& from, const ParameterMap& to);

}  // namespace afterimage::trainer
