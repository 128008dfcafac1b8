// The weights of one pass of the resize. Private to this room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace afterimage::image_internal {

inline constexpr int kWeightFractionBits = 22;  // 32 - 8 (pixel) - 2 (bicubic weights overshoot): Pillow's

// For each of the output pixels first .. first + count - 1: where its taps begin in the input, and their
// integer weights.
struct ResizeWeights {
  struct Taps {
    uint32_t begin = 0;  // input pixel
    uint32_t count = 0;
  };
  std::vector<Taps> taps;
  std::vector<int32_t> weights;  // `stride` per output pixel, zero behind the last tap
  uint32_t stride = 0;

  const int32_t* Weights(uint32_t output) const { return weights.data() + size_t{stride} * output; }
};

// Bicubic (a = -0.5), antialiased, from in_size to out_size pixels. All sizes > 0, first + count <= out_size.
ResizeWeights MakeResizeWeights(uint32_t in_size, uint32_t out_size, uint32_t first, uint32_t count);

}  // namespace afterimage::image_internal
