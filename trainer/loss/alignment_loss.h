// The loss of MaskAlign (maskalign.md section 1.6).
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

enum class LossType { kSmoothL1, kL1, kL2 };
// "smoothl1", "l1", "l2". InvalidArgument lists them.
absl::StatusOr<LossType> ParseLossType(absl::string_view name);

enum class TargetNorm { kWhiten, kNone, kL2 };
// "whiten", "none", "l2". InvalidArgument lists them, and says why "bn" is none: its statistics are of a
// batch, so that it cannot be cached.
absl::StatusOr<TargetNorm> ParseTargetNorm(absl::string_view name);

// Raw tokens [..., D] of a teacher level as targets (maskalign.md section 1.3), token by token: LayerNorm
// without affine with kNormalizationEps, as they are, or divided by their length.
at::Tensor NormalizeRawTargets(TargetNorm norm, const at::Tensor& raw);

// Stored are whitened tokens [..., D] and, per token, mean and inverse deviation [...]; the other targets
// undo the whitening first.
at::Tensor NormalizeTargets(TargetNorm norm, const at::Tensor& whitened, const at::Tensor& mean,
                            const at::Tensor& inverse_deviation);

// Mean over samples, tokens and channels of the distance between two [B, 1 + n, D_t]. The class token counts
// as one patch. Smooth L1 has beta 1 and the reference's factor 2: d^2 where |d| < 1, else 2 |d| - 1.
at::Tensor LevelLoss(LossType type, const at::Tensor& aligned, const at::Tensor& target);

// Sum over the levels of weight * LevelLoss. Parallel lists.
at::Tensor AlignmentLoss(LossType type, const std::vector<double>& weights,
                         const std::vector<at::Tensor>& aligned, const std::vector<at::Tensor>& targets);

}  // namespace afterimage::trainer
