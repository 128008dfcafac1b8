#include "core/order/stall_meter.h"

#include <algorithm>
#include <utility>

namespace afterimage {

void StallMeter::Begin(absl::Time now) {
  waiting_ = true;
  begin_ = explained_until_ = now;
  stall_ = {};
}

void StallMeter::Explain(std::optional<uint32_t> server, const StallTimes& times, absl::Time now) {
  const absl::Duration inside = now - explained_until_;
  if (!waiting_ || inside <= absl::ZeroDuration()) return;
  explained_until_ = now;
  stall_.Add(server, times.Total() > inside ? times.ScaledTo(inside) : times);
}

Stall StallMeter::End(absl::Time now, StallPart rest) {
  waiting_ = false;
  const absl::Duration unexplained = now - begin_ - stall_.Total();
  if (unexplained > absl::ZeroDuration()) stall_.Add(std::nullopt, {rest, unexplained});
  return std::exchange(stall_, {});
}

}  // namespace afterimage
