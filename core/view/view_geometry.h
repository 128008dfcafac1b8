// The arithmetic behind DrawViewGeometry and MakeView. Private to this room.
#pragma once

#include <cstdint>

#include "core/view/view_spec.h"

namespace afterimage::view_internal {

// The largest root with root * root <= value.
uint64_t IntegerSqrt(unsigned __int128 value);

// The ratio in lowest terms.
Ratio Reduced(Ratio ratio);

// What an image becomes before the centre crop: its shorter side is `resize_shorter`, the other follows,
// rounded down.
struct ImageSize {
  uint32_t width = 0;
  uint32_t height = 0;
};
ImageSize SizeBeforeCenterCrop(uint32_t resize_shorter, uint32_t width, uint32_t height);

}  // namespace afterimage::view_internal
