// The communicator of a run with one rank.
#pragma once

#include "trainer/distributed/communicator.h"

namespace afterimage::trainer {

// Every sum is the tensor itself; nothing fails.
class SelfCommunicator : public Communicator {
 public:
  uint32_t rank() const override { return 0; }
  uint32_t num_ranks() const override { return 1; }
  std::string Description() const override { return "one rank"; }

  absl::StatusOr<std::unique_ptr<PendingSum>> StartSum(const at::Tensor& tensor) override;
  absl::Status Broadcast(const at::Tensor&, uint32_t) override { return absl::OkStatus(); }
  absl::Status Barrier() override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<std::string>> Gather(const std::string& text) override {
    return std::vector<std::string>{text};
  }
  void SetActivity(absl::string_view) override {}
  void Leave(const absl::Status&) override {}
};

}  // namespace afterimage::trainer
