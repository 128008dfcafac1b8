// In which type matrix products are taken.
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

enum class Precision { kF32, kBf16, kF16 };
// "f32", "bf16", "f16". InvalidArgument lists them.
absl::StatusOr<Precision> ParsePrecision(absl::string_view name);

// While it lives, in this thread: with kBf16 and kF16, matrix products and attention take their inputs
// rounded to bfloat16 or half (LibTorch's autocast, the same on CPU and CUDA); weights, the residual stream,
// norms and gradients of weights stay float32. With kF32 nothing. For the forward alone: the backward repeats
// the types of the forward by itself. The gradients of a forward in half need a LossScaler.
class PrecisionScope {
 public:
  PrecisionScope(Precision precision, c10::DeviceType device);
  ~PrecisionScope();
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  const Precision precision_;
  const c10::DeviceType device_;
  bool was_enabled_ = false;
  c10::ScalarType type_before_ = c10::ScalarType::Float;
};

}  // namespace afterimage::trainer
