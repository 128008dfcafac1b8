#include "trainer/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace afterimage::trainer {

double WarmupCosine::At(double position) const {
  if (position < warmup) return lr * position / warmup;
  if (total <= warmup) return lr;
  const double progress = std::min(1.0, (position - warmup) / (total - warmup));
  return min_lr + (lr - min_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

}  // namespace afterimage::trainer
