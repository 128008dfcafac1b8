#include "trainer/classify/labelled_ranks.h"

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"
#include "trainer/distributed/agreement.h"

namespace afterimage::trainer {
namespace {

Json ToJson(const ClassificationResult& result) {
  Json classes = Json::array();
  for (const ClassResult& one : result.classes) classes.push_back({one.num_images, one.num_right});
  return {{"images", result.num_images},
          {"top1", result.num_top1},
          {"top5", result.num_top5},
          {"loss", result.loss},
          {"classes", classes}};
}

ClassificationResult FromJson(const Json& json) {
  ClassificationResult result;
  result.num_images = json["images"].get<uint64_t>();
  result.num_top1 = json["top1"].get<uint64_t>();
  result.num_top5 = json["top5"].get<uint64_t>();
  result.loss = json["loss"].get<double>();
  for (const Json& one : json["classes"])
    result.classes.push_back({one[0].get<uint64_t>(), one[1].get<uint64_t>()});
  return result;
}

}  // namespace

absl::StatusOr<AgreedMoment> AgreeOnMoment(Communicator& communicator, const absl::Status& mine, bool stop,
                                           double elapsed, const StallTimes& waited) {
  if (communicator.num_ranks() == 1) {
    AFTERIMAGE_RETURN_IF_ERROR(mine);
    return AgreedMoment{stop, elapsed, {waited}};
  }
  constexpr size_t kNumSums = 3;
  const at::Tensor sums =
      at::zeros({static_cast<int64_t>(kNumSums + communicator.num_ranks() * kNumStallParts)}, at::kDouble);
  double* const values = sums.data_ptr<double>();
  values[0] = mine.ok() ? 0 : 1;
  values[1] = stop ? 1 : 0;
  values[2] = communicator.rank() == 0 ? elapsed : 0;
  double* const waits = values + kNumSums;
  for (size_t part = 0; part < kNumStallParts; ++part) {
    waits[communicator.rank() * kNumStallParts + part] =
        absl::ToDoubleSeconds(waited[static_cast<StallPart>(part)]);
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto pending, communicator.StartSum(sums));
  AFTERIMAGE_RETURN_IF_ERROR(pending->Wait());
  if (values[0] > 0) return AgreeOnStatus(communicator, mine);
  AgreedMoment agreed{values[1] > 0, values[2], std::vector<StallTimes>(communicator.num_ranks())};
  for (size_t rank = 0; rank < agreed.waited.size(); ++rank) {
    for (size_t part = 0; part < kNumStallParts; ++part)
      agreed.waited[rank][static_cast<StallPart>(part)] = absl::Seconds(waits[rank * kNumStallParts + part]);
  }
  return agreed;
}

std::vector<StallRow> StallRowsOf(const std::vector<StallTimes>& waited) {
  std::vector<StallRow> rows;
  for (uint32_t rank = 0; rank < waited.size(); ++rank) {
    Stall stall;
    stall.Add(std::nullopt, waited[rank]);
    AppendStallRows(rank, stall, {}, rows);
  }
  return rows;
}

absl::StatusOr<ClassificationResult> MergeOverRanks(Communicator& communicator,
                                                    const absl::StatusOr<ClassificationResult>& part) {
  if (communicator.num_ranks() == 1) return part;
  AFTERIMAGE_RETURN_IF_ERROR(AgreeOnStatus(communicator, part.status()));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                              communicator.Gather(ToJson(*part).dump()));
  ClassificationResult result;
  for (const std::string& text : parts) result.Merge(FromJson(Json::parse(text)));
  return result;
}

}  // namespace afterimage::trainer
