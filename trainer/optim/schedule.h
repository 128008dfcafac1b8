// The learning rate over a run.
#pragma once

namespace afterimage::trainer {

// Linear warm-up from exactly 0, then a half cosine down to `min_lr` (maskalign.md section 1.8). The unit of
// the three positions is the caller's: epochs, or a fraction of the run.
struct WarmupCosine {
  double lr = 0;
  double min_lr = 0;  // absolute: not scaled with the batch
  double warmup = 0;  // position at which the warm-up ends
  double total = 1;   // position at which the run ends; beyond it the rate stays at min_lr

  double At(double position) const;
};

}  // namespace afterimage::trainer
