#include "trainer/pretrain/agreed_step.h"

#include <ATen/ATen.h>

#include "core/base/status_macros.h"
#include "trainer/distributed/agreement.h"

namespace afterimage::trainer {
namespace {

AgreedStep OfThisRank(const TrainingBatch* batch, bool stop) {
  AgreedStep step;
  step.stop = stop || batch == nullptr;
  if (batch == nullptr) return step;
  step.num_samples = static_cast<uint64_t>(batch->size);
  step.num_failed = batch->num_failed;
  step.num_skipped = batch->num_skipped;
  step.sum = batch->sum;
  return step;
}

}  // namespace

absl::StatusOr<AgreedStep> AgreeOnStep(Communicator& communicator, const absl::StatusOr<TrainingBatch*>& next,
                                       bool stop) {
  if (communicator.num_ranks() == 1) {
    AFTERIMAGE_RETURN_IF_ERROR(next.status());
    return OfThisRank(*next, stop);
  }
  const AgreedStep mine = OfThisRank(next.ok() ? *next : nullptr, stop);
  // As int64, whose sums wrap around as the digest's do.
  const at::Tensor sums = at::zeros({7}, at::kLong);
  int64_t* const values = sums.data_ptr<int64_t>();
  values[0] = next.ok() ? 0 : 1;
  values[1] = mine.stop ? 1 : 0;
  values[2] = static_cast<int64_t>(mine.num_samples);
  values[3] = static_cast<int64_t>(mine.num_failed);
  values[4] = static_cast<int64_t>(mine.num_skipped);
  values[5] = static_cast<int64_t>(mine.sum.low);
  values[6] = static_cast<int64_t>(mine.sum.high);
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto pending, communicator.StartSum(sums));
  AFTERIMAGE_RETURN_IF_ERROR(pending->Wait());
  if (values[0] > 0) return AgreeOnStatus(communicator, next.status());
  AgreedStep agreed;
  agreed.stop = values[1] > 0;
  agreed.num_samples = static_cast<uint64_t>(values[2]);
  agreed.num_failed = static_cast<uint64_t>(values[3]);
  agreed.num_skipped = static_cast<uint64_t>(values[4]);
  agreed.sum = {static_cast<uint64_t>(values[5]), static_cast<uint64_t>(values[6])};
  return agreed;
}

}  // namespace afterimage::trainer
