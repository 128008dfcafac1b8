#include "trainer/distributed/self_communicator.h"

#include "absl/time/clock.h"

namespace afterimage::trainer {
namespace {

class FinishedSum : public PendingSum {
 public:
  absl::Status Wait() override { return absl::OkStatus(); }
  absl::Time finished() const override { return finished_; }

 private:
  const absl::Time finished_ = absl::Now();
};

}  // namespace

absl::StatusOr<std::unique_ptr<PendingSum>> SelfCommunicator::StartSum(const at::Tensor&) {
  return std::make_unique<FinishedSum>();
}

}  // namespace afterimage::trainer
