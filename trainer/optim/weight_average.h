// The exponential moving average of a student's weights.
#pragma once

#include "core/vit/vit.h"

namespace afterimage::trainer {

// a <- decay a + (1 - decay) w after every update, from the weights at construction on; of the parameters
// that require a gradient. Float32. Not thread-safe.
class WeightAverage {
 public:
  // `parameters` are shared and must be updated in place. `decay` in (0, 1).
  WeightAverage(const ParameterMap& parameters, double decay);

  void Update();
  // By the names of the parameters, sharing memory: what a checkpoint keeps, and where it is copied back to.
  const ParameterMap& values() const { return average_; }

 private:
  const double decay_;
  ParameterMap parameters_;
  ParameterMap average_;
};

}  // namespace afterimage::trainer
