// The random numbers of augmentations: a pure function of seed, place and purpose, equal on every machine.
#pragma once

#include <cstdint>
#include <optional>

#include "core/view/philox.h"

namespace afterimage::trainer {

// Part of the counter, so that streams never overlap; far from the numbers that drop path counts with.
enum class AugmentPurpose : uint32_t {
  kView = 0x41550001,  // the view seed of an epoch
  kRandAugment,
  kErasing,
  kMix,
};

// Philox with key = seed and counter = {block number, place, epoch, purpose}. Real numbers are integer
// arithmetic (core/view/fixed_point.h) or IEEE + - * / and sqrt, no libm. Not thread-safe.
class AugmentRandom : public PhiloxStream {
 public:
  AugmentRandom(uint64_t seed, uint32_t epoch, uint32_t place, AugmentPurpose purpose);

  // Multiples of 2^-32 in [0, 1).
  double Uniform();
  double Between(double low, double high) { return low + (high - low) * Uniform(); }
  // Mean 0, deviation 1: Marsaglia's polar method.
  double Normal();
  // Beta(alpha, alpha), alpha > 0: Joehnk's method up to 1, rejection from the uniform above.
  double SymmetricBeta(double alpha);

 private:
  std::optional<double> spare_normal_;
};

}  // namespace afterimage::trainer
