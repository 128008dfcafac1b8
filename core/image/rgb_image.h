// An uncompressed picture in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace afterimage {

// 8-bit RGB, interleaved, row by row without padding: pixel (x, y) starts at 3 * (y * width + x).
struct RgbImage {
  uint32_t width = 0;
  uint32_t height = 0;
  std::vector<uint8_t> pixels;  // 3 * width * height

  const uint8_t* Row(uint32_t y) const { return pixels.data() + size_t{3} * width * y; }
  uint8_t* Row(uint32_t y) { return pixels.data() + size_t{3} * width * y; }
};

}  // namespace afterimage
