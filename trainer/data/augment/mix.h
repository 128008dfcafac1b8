// Mixup and CutMix of a batch with itself in reverse order, as timm's Mixup does it in its mode `batch`.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/image/resize.h"
#include "trainer/data/augment/augment_random.h"

namespace afterimage::trainer {

// Mixup (Zhang et al. 2018): x <- lambda x + (1 - lambda) reversed x. CutMix (Yun et al. 2019): a box of x
// comes from reversed x. lambda is drawn from Beta(alpha, alpha); an alpha of 0 switches a kind off.
struct MixOptions {
  double mixup_alpha = 0;
  double cutmix_alpha = 0;
  double probability = 1;           // of mixing a batch at all
  double switch_probability = 0.5;  // of CutMix, where both are on

  bool enabled() const { return mixup_alpha > 0 || cutmix_alpha > 0; }
  bool operator==(const MixOptions&) const = default;
};

struct Mix {
  double lambda = 1;  // share of a view's own label; 1 = not mixed
  bool cut = false;   // CutMix: `box` comes from the partner
  PixelBox box;
};

// Of views of `size` pixels. For CutMix lambda is what the box, cut at the border, leaves.
Mix DrawMix(const MixOptions& options, uint32_t size, AugmentRandom random);

// `views` [B, S, S, 3] of any real type, in place. View i is mixed with view B - 1 - i.
void ApplyMix(const Mix& mix, at::Tensor& views);

// Labels int64 [B] -> targets [B, classes]: lambda of the own label and the rest of the partner's, each
// smoothed: 1 - smoothing at the label, and smoothing / classes everywhere.
at::Tensor MixedTargets(const Mix& mix, const at::Tensor& labels, int64_t num_classes, double smoothing);

}  // namespace afterimage::trainer
