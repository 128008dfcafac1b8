#include "core/order/stall.h"

#include <algorithm>

namespace afterimage {

const char* StallPartName(StallPart part) {
  switch (part) {
    case StallPart::kDisk:
      return "disk";
    case StallPart::kQueue:
      return "queue";
    case StallPart::kCredit:
      return "credit";
    case StallPart::kWire:
      return "wire";
    case StallPart::kDecode:
      return "decode";
    case StallPart::kOrder:
      return "order";
  }
  return "?";
}

StallTimes& StallTimes::operator+=(const StallTimes& other) {
  for (size_t i = 0; i < times_.size(); ++i) times_[i] += other.times_[i];
  return *this;
}

absl::Duration StallTimes::Total() const {
  absl::Duration total;
  for (const absl::Duration time : times_) total += time;
  return total;
}

StallTimes StallTimes::ScaledTo(absl::Duration total) const {
  const absl::Duration before = Total();
  if (before <= absl::ZeroDuration()) return {};
  const double factor = absl::FDivDuration(total, before);
  StallTimes scaled;
  for (size_t i = 0; i < times_.size(); ++i) scaled.times_[i] = times_[i] * factor;
  return scaled;
}

void Stall::Add(std::optional<uint32_t> server, const StallTimes& times) {
  const size_t row = server.has_value() ? size_t{*server} + 1 : 0;
  if (rows_.size() <= row) rows_.resize(row + 1);
  rows_[row] += times;
}

Stall& Stall::operator+=(const Stall& other) {
  if (rows_.size() < other.rows_.size()) rows_.resize(other.rows_.size());
  for (size_t i = 0; i < other.rows_.size(); ++i) rows_[i] += other.rows_[i];
  return *this;
}

absl::Duration Stall::Total() const {
  absl::Duration total;
  for (const StallTimes& times : rows_) total += times.Total();
  return total;
}

StallTimes SplitServerWait(absl::Duration waited, absl::Duration window, const StallTimes& idle) {
  waited = std::max(waited, absl::ZeroDuration());
  const absl::Duration sending = std::max(window - idle.Total(), absl::ZeroDuration());
  // An idle time of nothing explains nothing, however the clocks round.
  const absl::Duration wire = idle.Total() > absl::ZeroDuration() ? std::min(waited, sending) : waited;
  StallTimes split = idle.ScaledTo(waited - wire);
  split[StallPart::kWire] += wire;
  return split;
}

}  // namespace afterimage
