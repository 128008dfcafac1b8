// A ViT with a linear head on its normalised class token: timm's `global_pool="token"`.
#pragma once

#include "core/vit/vit.h"
#include "trainer/data/labelled_view_loader.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {

// Adds "head.weight" [classes, D] (N(0, 0.02)) and "head.bias" (zero).
void AddHead(ParameterMap& parameters, int64_t num_classes, uint64_t seed);

// uint8 pixels [B, S, S, 3] -> normalised patch rows for VitForward.
at::Tensor InputRows(const at::Tensor& pixels, int64_t patch_size, const at::Tensor& mean,
                     const at::Tensor& deviation);

// Patch rows -> logits [B, classes].
at::Tensor ClassifierLogits(const VitConfig& config, const ParameterMap& parameters, const at::Tensor& rows,
                            const at::Tensor& drop_path = {});

// Share of the views whose highest logit is their label.
absl::StatusOr<double> Top1Accuracy(const VitWeights& weights, const EvaluationViews& views);

}  // namespace afterimage::trainer
