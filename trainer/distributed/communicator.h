// What the ranks of a run say to each other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace afterimage::trainer {

// A sum over all ranks that is under way. One thread at a time.
class PendingSum {
 public:
  virtual ~PendingSum() = default;

  // Blocks until the tensor holds the sum. Errors as of Communicator.
  virtual absl::Status Wait() = 0;
  // When the sum was complete on this rank; of use after Wait has returned OK.
  virtual absl::Time finished() const = 0;
};

// The ranks of a run, 0 to num_ranks() - 1, each with a communicator of its own. Every rank makes the same
// calls in the same order, with tensors of the same type and shape; a result is the same on all of them, to
// the last bit. One thread at a time, which need not be the same one.
//
// Unavailable: a rank has gone, or ended with an error, or did not come for too long; the text names it and
// what is known of it. After an error every call fails, and the run cannot go on with these ranks.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual uint32_t rank() const = 0;
  virtual uint32_t num_ranks() const = 0;
  // For people: "2 ranks over gloo, rendezvous at 127.0.0.1:29500 (torchrun)".
  virtual std::string Description() const = 0;

  // Begins to replace the (dense, contiguous) tensor by the sum over the ranks, in the background; several
  // may be under way. The memory must not be touched until Wait.
  virtual absl::StatusOr<std::unique_ptr<PendingSum>> StartSum(const at::Tensor& tensor) = 0;
  // Replaces the tensor by that of rank `root`.
  virtual absl::Status Broadcast(const at::Tensor& tensor, uint32_t root) = 0;
  // Returns once every rank has called it.
  virtual absl::Status Barrier() = 0;
  // The texts of all ranks, by rank. They may differ in length; meant for kilobytes.
  virtual absl::StatusOr<std::vector<std::string>> Gather(const std::string& text) = 0;

  // What this rank is doing ("step 12: input"), for the messages of those who wait for it.
  virtual void SetActivity(absl::string_view activity) = 0;
  // The last call: why this rank ends. With an error the others end too, with its text; with OK, once all are
  // done. Returns at once but where the others still need this rank to be told.
  virtual void Leave(const absl::Status& status) = 0;
};

// Leaves with what has become of this rank's run, and hands it on.
template <typename T>
absl::StatusOr<T> LeaveWith(Communicator& communicator, absl::StatusOr<T> result) {
  communicator.Leave(result.status());
  return result;
}

}  // namespace afterimage::trainer
