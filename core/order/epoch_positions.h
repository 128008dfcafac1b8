// Which positions of an epoch a request is for.
#pragma once

#include <cstdint>
#include <vector>

#include "core/order/epoch_source.h"

namespace afterimage {

// The positions of a request in the order of its frames: its slots of step after step, or its explicit ones.
// Immutable.
class EpochPositions {
 public:
  // Of a request that ValidateEpochRequest would refuse they may be none, or others than was meant.
  explicit EpochPositions(const EpochRequest& request);

  uint64_t size() const { return size_; }
  // Of frame `index` < size(). O(1); with explicit positions O(log ranges).
  uint64_t operator[](uint64_t index) const;

 private:
  uint64_t batch_ = 1;
  uint64_t step_begin_ = 0;
  SlotRange slots_;
  std::vector<PositionRange> ranges_;
  std::vector<uint64_t> ends_;  // of ranges_: the index after their last position
  uint64_t size_ = 0;
};

// What a checked request leaves from `position` on, which is one of its positions: the same request from a
// later step where its part of a step begins there, otherwise one with explicit positions.
EpochRequest RestOfRequest(const EpochRequest& checked, uint64_t position);

}  // namespace afterimage
