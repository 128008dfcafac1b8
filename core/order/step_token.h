// All that is needed to go on at the same step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "core/order/order_spec.h"

namespace afterimage {

struct StepToken {
  Digest256 feature_id;
  Digest256 set_id;
  std::vector<Digest256> further_set_ids;  // of the second teacher and those after it, in order; mostly none
  OrderSpec order;
  uint64_t epoch = 0;
  uint64_t next_step = 0;       // of this epoch
  uint64_t global_batch = 0;
  Digest128 running_digest;     // after step next_step - 1

  bool operator==(const StepToken&) const = default;
  // The digest before the first step of `epoch`.
  Digest128 StartDigest() const;
  std::string Serialize() const;  // canonical JSON text, version 1
  static absl::StatusOr<StepToken> Parse(absl::string_view text);
};

}  // namespace afterimage
