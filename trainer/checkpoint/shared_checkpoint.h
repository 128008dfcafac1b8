// One state for all ranks.
#pragma once

#include "absl/status/status.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/distributed/communicator.h"

namespace afterimage::trainer {

// Gives every rank what rank 0 has: tensors are overwritten where they lie, step and values replaced. All
// ranks have tensors of the same names, types and shapes. Errors of Communicator.
absl::Status ShareCheckpoint(Checkpoint& checkpoint, Communicator& ranks);

}  // namespace afterimage::trainer
