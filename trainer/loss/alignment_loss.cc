#include "trainer/loss/alignment_loss.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

absl::StatusOr<LossType> ParseLossType(absl::string_view name) {
  if (name == "smoothl1") return LossType::kSmoothL1;
  if (name == "l1") return LossType::kL1;
  if (name == "l2") return LossType::kL2;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown loss \"", name, "\": smoothl1, l1 and l2 are known"));
}

absl::StatusOr<TargetNorm> ParseTargetNorm(absl::string_view name) {
  if (name == "whiten") return TargetNorm::kWhiten;
  if (name == "none") return TargetNorm::kNone;
  if (name == "l2") return TargetNorm::kL2;
  if (name == "bn") {
    return absl::InvalidArgumentError(
        "target norm bn takes its statistics over a batch, masked tokens included, so that it cannot come "
        "from a cache: use whiten, none or l2");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown target norm \"", name, "\": whiten, none and l2 are known"));
}

at::Tensor NormalizeRawTargets(TargetNorm norm, const at::Tensor& raw) {
  if (norm == TargetNorm::kWhiten) return LayerNormNoAffine(raw, kNormalizationEps);
  if (norm == TargetNorm::kNone) return raw;
  return raw / raw.norm(2, {-1}, /*keepdim=*/true).clamp_min(1e-12);
}

at::Tensor NormalizeTargets(TargetNorm norm, const at::Tensor& whitened, const at::Tensor& mean,
                            const at::Tensor& inverse_deviation) {
  if (norm == TargetNorm::kWhiten) return whitened;
  return NormalizeRawTargets(norm, whitened / inverse_deviation.unsqueeze(-1) + mean.unsqueeze(-1));
}

at::Tensor LevelLoss(LossType type, const at::Tensor& aligned, const at::Tensor& target) {
  switch (type) {
    case LossType::kSmoothL1:
      break;
    case LossType::kL1:
      return at::l1_loss(aligned, target, at::Reduction::Mean);
    case LossType::kL2:
      return at::mse_loss(aligned, target, at::Reduction::Mean);
  }
  return 2.0 * at::smooth_l1_loss(aligned, target, at::Reduction::Mean, /*beta=*/1.0);
}

at::Tensor AlignmentLoss(LossType type, const std::vector<double>& weights,
                         const std::vector<at::Tensor>& aligned, const std::vector<at::Tensor>& targets) {
  at::Tensor sum;
  for (size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor term = weights[i] * LevelLoss(type, aligned[i], targets[i]);
    sum = sum.defined() ? sum + term : term;
  }
  return sum;
}

}  // namespace afterimage::trainer
