#include "core/feature/coded_plane.h"

#include "core/feature/half.h"

namespace afterimage::internal {

std::vector<float> RoundToHalves(std::span<const float> values, std::vector<uint8_t>& halves) {
  halves.resize(values.size() * sizeof(uint16_t));
  EncodeHalves(values, halves.data());  // cannot fail: the values are within kLargestFeature
  std::vector<float> rounded(values.size());
  DecodeHalves(halves.data(), rounded);
  return rounded;
}

}  // namespace afterimage::internal
