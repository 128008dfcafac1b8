#include "trainer/checkpoint/shared_checkpoint.h"

#include <string>
#include <vector>

#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

absl::Status ShareCheckpoint(Checkpoint& checkpoint, Communicator& ranks) {
  for (const ParameterMap* const tensors :
       {&checkpoint.weights, &checkpoint.optimizer, &checkpoint.average}) {
    for (const auto& [name, tensor] : *tensors)
      AFTERIMAGE_RETURN_IF_ERROR(WithContext(ranks.Broadcast(tensor, 0), name));
  }
  const Json mine = {{"step", checkpoint.step}, {"values", checkpoint.values}};
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> all, ranks.Gather(mine.dump()));
  const Json first = Json::parse(all[0]);
  checkpoint.step = first["step"].get<uint64_t>();
  checkpoint.values = first["values"].get<std::map<std::string, std::string>>();
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
