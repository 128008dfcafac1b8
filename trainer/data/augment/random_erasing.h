// Random erasing as timm does it, in its mode `pixel`: a box of a view becomes noise.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/image/resize.h"
#include "trainer/data/augment/augment_random.h"

namespace afterimage::trainer {

// Zhong et al. 2020 with timm's defaults: 2 % to a third of the area, sides in a ratio of 0.3 to 1 / 0.3.
struct Erasure {
  PixelBox box;
  // box.height x box.width x 3 numbers from N(0, 1), which replace *normalised* pixels.
  std::vector<float> noise;
};

// The erasure of a square view of `size` pixels with `probability`; nothing otherwise, or where ten tries
// give no box smaller than the view.
std::optional<Erasure> DrawErasure(double probability, uint32_t size, AugmentRandom random);

}  // namespace afterimage::trainer
