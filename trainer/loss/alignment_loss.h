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

// Stored are whitened tokens [..., D] and, per token, mean and inverse deviation [...]; the other targets
// undo the whitening first.
at::Tensor NormalizeTargets(TargetNorm norm, const at::Tensor& whitened, const at::Tensor& mean,
                            const at::Tensor& inverse_deviation);

// sum over the levels of weight * (mean over samples, tokens and channels of the distance). The class token
// counts as one patch. Smooth L1 has beta 1 and the reference's factor 2: d^2 where |d| < 1, else 2 |d| - 1.
// Parallel lists of [B, 1 + n, D_t].
at::Tensor AlignmentLoss(LossType type, const std::vector<double>& weights,
                         const std::vector<at::Tensor>& aligned, const std::vector<at::Tensor>& targets);

}  // namespace afterimage::trainer
