// Divides waits into their parts.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "core/order/stall.h"

namespace afterimage {

// One waits, another works for it and says what held it up itself. Only what lies inside the wait counts, so
// the parts add up to it by construction; a worker whose reader does not wait need read no clock. Not
// thread-safe: both hold the same mutex.
class StallMeter {
 public:
  // A wait begins.
  void Begin(absl::Time now);
  bool waiting() const { return waiting_; }
  // Until `now` the worker was held up for these times, at a stretch. Of those that are longer than the wait,
  // or reach into what was explained before, each counts in proportion.
  void Explain(std::optional<uint32_t> server, const StallTimes& times, absl::Time now);
  // The wait is over; what nothing has explained is `rest`.
  Stall End(absl::Time now, StallPart rest);

 private:
  bool waiting_ = false;
  absl::Time begin_;
  absl::Time explained_until_;
  Stall stall_;
};

}  // namespace afterimage
