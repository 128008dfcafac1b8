// How often records were read from a second server while the first one kept its reader waiting.
#pragma once

#include <cstdint>

namespace afterimage {

struct HedgeCounts {
  uint64_t asked = 0;  // reads begun on a second server
  uint64_t won = 0;    // of them, those that gave the record first; its frame is marked `hedged`

  HedgeCounts& operator+=(const HedgeCounts& other) {
    asked += other.asked;
    won += other.won;
    return *this;
  }
  // What came since `before`.
  HedgeCounts operator-(const HedgeCounts& before) const {
    return {.asked = asked - before.asked, .won = won - before.won};
  }
};

}  // namespace afterimage
