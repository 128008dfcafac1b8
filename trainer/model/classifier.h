// A ViT with a linear head.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

// What the head sees: the class token behind the final norm (timm's `global_pool="token"`), or the mean of
// the patches with a norm behind it ("avg": "fc_norm.*" in the place of "norm.*").
enum class Pool { kToken, kMean };
// "token", "mean". InvalidArgument lists them.
absl::StatusOr<Pool> ParsePool(absl::string_view name);
const char* PoolName(Pool pool);

// Adds "head.weight" [classes, D] (N(0, deviation)) and "head.bias" (zero); with kMean "fc_norm.*" (1 and 0)
// takes the place of "norm.*".
void AddHead(ParameterMap& parameters, int64_t num_classes, uint64_t seed, double deviation = 0.02,
             Pool pool = Pool::kToken);

// Normalised views [B, S, S, 3] -> patch rows for VitForward.
at::Tensor ViewRows(const at::Tensor& views, int64_t patch_size);

// Patch rows -> what the head sees, [B, D]: pooled and normed, by "fc_norm.*" where it is there.
at::Tensor PooledFeatures(const VitConfig& config, const ParameterMap& parameters, const at::Tensor& rows,
                          const at::Tensor& drop_path = {});

// Patch rows -> logits [B, classes].
at::Tensor ClassifierLogits(const VitConfig& config, const ParameterMap& parameters, const at::Tensor& rows,
                            const at::Tensor& drop_path = {});

}  // namespace afterimage::trainer
