#include "trainer/data/augment/mix.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace afterimage::trainer {
namespace {

// The part of [centre - length / 2, centre + length / 2) that lies in [0, size).
void CutAt(uint32_t centre, uint32_t length, uint32_t size, uint32_t& begin, uint32_t& extent) {
  const uint32_t half = length / 2;
  begin = centre > half ? centre - half : 0;
  extent = std::min(centre + half, size) - begin;
}

}  // namespace

Mix DrawMix(const MixOptions& options, uint32_t size, AugmentRandom random) {
  Mix mix;
  if (!options.enabled() || !(random.Uniform() < options.probability)) return mix;
  const bool both = options.mixup_alpha > 0 && options.cutmix_alpha > 0;
  mix.cut = both ? random.Uniform() < options.switch_probability : options.cutmix_alpha > 0;
  mix.lambda = random.SymmetricBeta(mix.cut ? options.cutmix_alpha : options.mixup_alpha);
  if (!mix.cut) return mix;
  const auto length = static_cast<uint32_t>(size * std::sqrt(1 - mix.lambda));
  CutAt(random.NextBelow(size), length, size, mix.box.y, mix.box.height);
  CutAt(random.NextBelow(size), length, size, mix.box.x, mix.box.width);
  mix.lambda = 1 - static_cast<double>(uint64_t{mix.box.width} * mix.box.height) /
                       static_cast<double>(uint64_t{size} * size);
  return mix;
}

void ApplyMix(const Mix& mix, at::Tensor& views) {
  if (mix.lambda == 1) return;
  if (!mix.cut) {
    const at::Tensor partner = views.flip(0).mul_(1 - mix.lambda);
    views.mul_(mix.lambda).add_(partner);
    return;
  }
  at::Tensor box = views.narrow(1, mix.box.y, mix.box.height).narrow(2, mix.box.x, mix.box.width);
  box.copy_(box.flip(0));
}

at::Tensor MixedTargets(const Mix& mix, const at::Tensor& labels, int64_t num_classes, double smoothing) {
  const double everywhere = smoothing / static_cast<double>(num_classes);
  const auto smoothed = [&](const at::Tensor& of) {
    return at::full({of.size(0), num_classes}, everywhere, at::kFloat)
        .scatter_(1, of.unsqueeze(1), 1 - smoothing + everywhere);
  };
  const at::Tensor own = smoothed(labels);
  if (mix.lambda == 1) return own;
  return own * mix.lambda + smoothed(labels.flip(0)) * (1 - mix.lambda);
}

}  // namespace afterimage::trainer
