// Sampling without replacement, in integers. Private to this room.
#pragma once

#include <cstdint>

namespace afterimage::mask_internal {

// One runner of the race: whoever has the largest weight / time is drawn first. Time is Exp(1) in units of ln
// 2, with 32 fractional bits; the weight is mantissa * 2^exponent, exactly the float's value.
struct Runner {
  uint32_t mantissa = 0;  // below 2^24; 0 is a weight of zero
  int32_t exponent = 0;
  uint64_t time = 0;  // 1 .. 64 * 2^32
  uint16_t patch = 0;
};

// `weight` >= 0 and finite. `random` is any 64-bit number; equal ones give equal times.
Runner MakeRunner(uint16_t patch, float weight, uint64_t random);

// Whether `a` is drawn before `b`. A strict order: weights of zero come last, by time alone; an exact tie
// goes to the smaller patch.
bool DrawnBefore(const Runner& a, const Runner& b);

}  // namespace afterimage::mask_internal
