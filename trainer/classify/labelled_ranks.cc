#include "trainer/classify/labelled_ranks.h"

#include <ATen/ATen.h>

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
                                           double elapsed) {
  if (communicator.num_ranks() == 1) {
    AFTERIMAGE_RETURN_IF_ERROR(mine);
    return AgreedMoment{stop, elapsed};
  }
  const at::Tensor sums = at::zeros({3}, at::kDouble);
  double* const values = sums.data_ptr<double>();
  values[0] = mine.ok() ? 0 : 1;
  values[1] = stop ? 1 : 0;
  values[2] = communicator.rank() == 0 ? elapsed : 0;
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto pending, communicator.StartSum(sums));
  AFTERIMAGE_RETURN_IF_ERROR(pending->Wait());
  if (values[0] > 0) return AgreeOnStatus(communicator, mine);
  return AgreedMoment{values[1] > 0, values[2]};
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
