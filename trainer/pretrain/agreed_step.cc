#include "trainer/pretrain/agreed_step.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
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
  step.num_computed = batch->num_computed;
  step.sum = batch->sum;
  return step;
}

constexpr int64_t kNumSums = 10;

// In the tensor, what a rank waited for has a row for itself and one for each of its servers.
int64_t NumStallValues(const std::vector<std::string>& servers) {
  return static_cast<int64_t>((servers.size() + 1) * kNumStallParts);
}

void PutStall(const Stall& stall, int64_t num_values, int64_t* values) {
  const size_t num_rows = std::min(stall.rows().size(), static_cast<size_t>(num_values) / kNumStallParts);
  for (size_t row = 0; row < num_rows; ++row) {
    for (size_t part = 0; part < kNumStallParts; ++part) {
      values[row * kNumStallParts + part] =
          absl::ToInt64Nanoseconds(stall.rows()[row][static_cast<StallPart>(part)]);
    }
  }
}

Stall TakeStall(const int64_t* values, int64_t num_values) {
  Stall stall;
  const size_t num_rows = static_cast<size_t>(num_values) / kNumStallParts;
  for (size_t row = 0; row < num_rows; ++row) {
    StallTimes times;
    for (size_t part = 0; part < kNumStallParts; ++part)
      times[static_cast<StallPart>(part)] = absl::Nanoseconds(values[row * kNumStallParts + part]);
    stall.Add(row == 0 ? std::nullopt : std::optional<uint32_t>(row - 1), times);
  }
  return stall;
}

}  // namespace

absl::StatusOr<ServersOfRanks> GatherServers(Communicator& communicator,
                                             const std::vector<std::string>& mine) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                              communicator.Gather(absl::StrJoin(mine, "\n")));
  ServersOfRanks servers;
  for (const std::string& text : texts) servers.push_back(absl::StrSplit(text, '\n', absl::SkipEmpty()));
  return servers;
}

absl::StatusOr<AgreedStep> AgreeOnStep(Communicator& communicator, const ServersOfRanks& servers,
                                       const absl::StatusOr<TrainingBatch*>& next, bool stop,
                                       const Stall& waited, const HedgeCounts& hedges) {
  if (communicator.num_ranks() == 1) {
    AFTERIMAGE_RETURN_IF_ERROR(next.status());
    AgreedStep alone = OfThisRank(*next, stop);
    alone.hedges = hedges;
    alone.waited = {waited};
    return alone;
  }
  const AgreedStep mine = OfThisRank(next.ok() ? *next : nullptr, stop);
  // As int64, whose sums wrap around as the digest's do.
  int64_t num_values = kNumSums;
  int64_t my_stall = 0;  // where in the tensor
  for (uint32_t rank = 0; rank < communicator.num_ranks(); ++rank) {
    if (rank == communicator.rank()) my_stall = num_values;
    num_values += NumStallValues(servers[rank]);
  }
  const at::Tensor sums = at::zeros({num_values}, at::kLong);
  int64_t* const values = sums.data_ptr<int64_t>();
  PutStall(waited, NumStallValues(servers[communicator.rank()]), values + my_stall);
  values[0] = next.ok() ? 0 : 1;
  values[1] = mine.stop ? 1 : 0;
  values[2] = static_cast<int64_t>(mine.num_samples);
  values[3] = static_cast<int64_t>(mine.num_failed);
  values[4] = static_cast<int64_t>(mine.num_skipped);
  values[5] = static_cast<int64_t>(mine.sum.low);
  values[6] = static_cast<int64_t>(mine.sum.high);
  values[7] = static_cast<int64_t>(mine.num_computed);
  values[8] = static_cast<int64_t>(hedges.asked);
  values[9] = static_cast<int64_t>(hedges.won);
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto pending, communicator.StartSum(sums));
  AFTERIMAGE_RETURN_IF_ERROR(pending->Wait());
  if (values[0] > 0) return AgreeOnStatus(communicator, next.status());
  AgreedStep agreed;
  agreed.stop = values[1] > 0;
  agreed.num_samples = static_cast<uint64_t>(values[2]);
  agreed.num_failed = static_cast<uint64_t>(values[3]);
  agreed.num_skipped = static_cast<uint64_t>(values[4]);
  agreed.num_computed = static_cast<uint64_t>(values[7]);
  agreed.hedges = {.asked = static_cast<uint64_t>(values[8]), .won = static_cast<uint64_t>(values[9])};
  agreed.sum = {static_cast<uint64_t>(values[5]), static_cast<uint64_t>(values[6])};
  int64_t stall = kNumSums;
  for (const std::vector<std::string>& of_rank : servers) {
    agreed.waited.push_back(TakeStall(values + stall, NumStallValues(of_rank)));
    stall += NumStallValues(of_rank);
  }
  return agreed;
}

}  // namespace afterimage::trainer
