// From a checkpoint to a network for others.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace afterimage::trainer {

enum class ExportedWeights { kLast, kAverage };  // as trained, or their moving average (`pretrain --ema`)

// Writes the student of a pre-training checkpoint (a file, or the latest of a run's folder) as SaveVitWeights
// does: timm's names, the alignment left out, the final norm as it began (1 and 0). timm loads it strictly
// but for its own "head.*"; afterimage-precompute takes it as a teacher. NotFound: no checkpoint there.
// InvalidArgument: not one of `pretrain`.
absl::Status ExportStudent(const std::string& checkpoint, const std::string& out, const std::string& dtype,
                           ExportedWeights which = ExportedWeights::kLast);

}  // namespace afterimage::trainer
