// Made-up activations with a transformer's statistics, for want of a pretrained one's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/feature/feature_record.h"

namespace afterimage::benchmarks {

// A residual stream over a square grid of patches with a class token before them. Each level is the one below
// plus something new, `level_correlation` of a channel's deviation being kept. What is new is a sum of smooth
// fields over the grid and of noise of each token's own, so that neighbours are alike; a channel has a mean
// and a lognormal scale; three channels have a large mean and three a scale of 4, 8 and 16 times the others'.
// The class token has a mean of its own and no neighbours. Each token is normalised, as stored features are.
//
// With the defaults (768 channels, 14 x 14 patches): means hold 0.7 of a token's energy; of a channel's
// deviation neighbours share 0.6, levels 0.92. `num_massive` tokens of an image, at places of its own, are
// 30 deviations off in two channels, as registers and high-norm tokens of published ViTs are.
struct ActivationSpec {
  std::vector<uint32_t> levels = {8, 9, 10, 11, 12};
  uint32_t width = 768;
  uint32_t grid = 14;
  double level_correlation = 0.92;
  double smooth_share = 0.75;  // of the variance; the rest is each token's own
  int num_massive = 0;
};

class ActivationMaker {
 public:
  // The same `seed`: the same channels and fields, as of one network.
  ActivationMaker(ActivationSpec spec, uint64_t seed);
  // Image number `image`: any number of them, each a function of it and the seed. Without pixels.
  FeatureRecord Make(uint64_t image) const;

 private:
  struct Channels {
    std::vector<float> mean, class_mean, scale;
  };

  const ActivationSpec spec_;
  const uint64_t seed_;
  std::vector<Channels> levels_;
  std::vector<std::vector<float>> mixing_;  // of each level: width x kNumFields
};

// Subtracts a token's mean and divides by its deviation.
void NormaliseToken(std::span<float> token);

}  // namespace afterimage::benchmarks
