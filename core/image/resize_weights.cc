#include "core/image/resize_weights.h"

#include <algorithm>
#include <cmath>

namespace afterimage::image_internal {
namespace {

// Keys' cubic with a = -0.5. The order of operations is Pillow's: it decides the last bit.
double Bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

int32_t RoundHalfAwayFromZero(double weight) {
  const double scaled = weight * (1 << kWeightFractionBits);
  return static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

}  // namespace

ResizeWeights MakeResizeWeights(uint32_t in_size, uint32_t out_size, uint32_t first, uint32_t count) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2.0 * filter_scale;
  const double inverse_filter_scale = 1.0 / filter_scale;

  ResizeWeights result;
  result.stride = static_cast<uint32_t>(std::ceil(support)) * 2 + 1;
  result.taps.resize(count);
  result.weights.assign(size_t{result.stride} * count, 0);
  std::vector<double> tap_weights(result.stride);
  for (uint32_t i = 0; i < count; ++i) {
    const double center = (first + i + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), static_cast<int>(in_size));
    const int num_taps = end - begin;
    double sum = 0.0;
    for (int tap = 0; tap < num_taps; ++tap) {
      tap_weights[tap] = Bicubic((tap + begin - center + 0.5) * inverse_filter_scale);
      sum += tap_weights[tap];
    }
    int32_t* weights = result.weights.data() + size_t{result.stride} * i;
    for (int tap = 0; tap < num_taps; ++tap) {
      weights[tap] = RoundHalfAwayFromZero(sum != 0.0 ? tap_weights[tap] / sum : tap_weights[tap]);
    }
    result.taps[i] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(num_taps)};
  }
  return result;
}

}  // namespace afterimage::image_internal
