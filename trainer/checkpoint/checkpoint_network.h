// The network in a checkpoint, for others.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {

enum class ExportedWeights { kLast, kAverage };  // as trained, or their moving average (`--ema`)

// Under this name a checkpoint keeps the NetworkText of its weights; those of `pretrain` keep their
// architecture in the configuration.
inline constexpr char kNetworkValue[] = "network";

// The file of a checkpoint: `path` itself, or the last one of a run's folder. NotFound: a folder without one.
absl::StatusOr<std::string> CheckpointFile(const std::string& path);

// The trained network of a checkpoint (a file, or the latest of a run's folder) of `pretrain`, `finetune` or
// `supervise`: in timm's names, the alignment left out. NotFound: no checkpoint there. InvalidArgument: one
// of another kind. FailedPrecondition: the average is wanted, and there is none.
absl::StatusOr<VitWeights> NetworkOfCheckpoint(const std::string& path, ExportedWeights which);

}  // namespace afterimage::trainer
