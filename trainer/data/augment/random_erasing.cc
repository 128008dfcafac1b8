#include "trainer/data/augment/random_erasing.h"

#include <cmath>

#include "core/view/fixed_point.h"

namespace afterimage::trainer {
namespace {

constexpr int kNumTries = 10;
constexpr double kMinArea = 0.02, kMaxArea = 1.0 / 3;

// 0.3 to 1 / 0.3, uniform in its logarithm.
double DrawAspect(AugmentRandom& random) {
  const int64_t bound = FixedLog2(10) - FixedLog2(3);
  const int64_t exponent = -bound + static_cast<int64_t>(__int128{2 * bound} * random.Next32() >> 32);
  return static_cast<double>(FixedExp2(exponent)) * 0x1p-32;
}

// Half to even, as Python's round.
uint32_t Rounded(double value) { return static_cast<uint32_t>(std::nearbyint(value)); }

}  // namespace

std::optional<Erasure> DrawErasure(double probability, uint32_t size, AugmentRandom random) {
  if (!(random.Uniform() < probability)) return std::nullopt;
  const double area = static_cast<double>(size) * size;
  for (int i = 0; i < kNumTries; ++i) {
    const double target = random.Between(kMinArea, kMaxArea) * area;
    const double aspect = DrawAspect(random);
    Erasure erasure;
    PixelBox& box = erasure.box;
    box.height = Rounded(std::sqrt(target * aspect));
    box.width = Rounded(std::sqrt(target / aspect));
    if (box.width >= size || box.height >= size) continue;
    if (box.width == 0 || box.height == 0) return std::nullopt;  // as timm: an empty box is erased
    box.y = random.NextBelow(size - box.height + 1);
    box.x = random.NextBelow(size - box.width + 1);
    erasure.noise.resize(size_t{3} * box.width * box.height);
    for (float& value : erasure.noise) value = static_cast<float>(random.Normal());
    return erasure;
  }
  return std::nullopt;
}

}  // namespace afterimage::trainer
