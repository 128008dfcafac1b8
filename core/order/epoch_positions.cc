#include "core/order/epoch_positions.h"

#include <algorithm>

namespace afterimage {

EpochPositions::EpochPositions(const EpochRequest& request) : ranges_(request.positions) {
  if (request.global_batch == 0) {
    ranges_.clear();
    return;
  }
  if (!ranges_.empty()) {
    for (const PositionRange& range : ranges_) {
      size_ += range.end - std::min(range.begin, range.end);
      ends_.push_back(size_);
    }
    return;
  }
  const RankSlice& slice = request.slice;
  if (slice.rank >= slice.num_ranks) return;
  batch_ = request.global_batch;
  step_begin_ = request.step_begin;
  slots_ = SlotsOfRank(slice, batch_);
  const uint64_t step_end = request.step_end == 0 ? StepsPerEpoch(request.order, batch_) : request.step_end;
  size_ = (step_end - std::min(step_begin_, step_end)) * (slots_.end - slots_.begin);
}

uint64_t EpochPositions::operator[](uint64_t index) const {
  if (!ranges_.empty()) {
    const auto range = std::ranges::upper_bound(ends_, index) - ends_.begin();
    return ranges_[range].end - (ends_[range] - index);
  }
  const uint64_t slots_per_step = slots_.end - slots_.begin;
  return (step_begin_ + index / slots_per_step) * batch_ + slots_.begin + index % slots_per_step;
}

EpochRequest RestOfRequest(const EpochRequest& checked, uint64_t position) {
  EpochRequest rest = checked;
  if (!checked.positions.empty()) {
    std::erase_if(rest.positions, [&](const PositionRange& range) { return range.end <= position; });
    if (!rest.positions.empty()) {
      rest.positions.front().begin = std::max(rest.positions.front().begin, position);
    }
    return rest;
  }
  const uint64_t batch = checked.global_batch;
  const SlotRange slots = SlotsOfRank(checked.slice, batch);
  const uint64_t step = position / batch;
  if (position % batch == slots.begin) {
    rest.step_begin = step;
    return rest;
  }
  rest.step_begin = rest.step_end = 0;
  rest.slice = {};
  rest.positions.push_back({position, step * batch + slots.end});
  for (uint64_t later = step + 1; later < checked.step_end; ++later)
    rest.positions.push_back({later * batch + slots.begin, later * batch + slots.end});
  return rest;
}

}  // namespace afterimage
