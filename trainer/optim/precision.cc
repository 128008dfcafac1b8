#include "trainer/optim/precision.h"

#include <ATen/autocast_mode.h>

#include "absl/strings/str_cat.h"

namespace afterimage::trainer {

absl::StatusOr<Precision> ParsePrecision(absl::string_view name) {
  if (name == "f32") return Precision::kF32;
  if (name == "bf16") return Precision::kBf16;
  if (name == "f16") return Precision::kF16;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown precision \"", name, "\": f32, bf16 and f16 are known"));
}

PrecisionScope::PrecisionScope(Precision precision, c10::DeviceType device)
    : precision_(precision), device_(device) {
  if (precision_ == Precision::kF32) return;
  was_enabled_ = at::autocast::is_autocast_enabled(device_);
  type_before_ = at::autocast::get_autocast_dtype(device_);
  at::autocast::set_autocast_enabled(device_, true);
  at::autocast::set_autocast_dtype(device_, precision_ == Precision::kF16 ? at::kHalf : at::kBFloat16);
  at::autocast::increment_nesting();
}

PrecisionScope::~PrecisionScope() {
  if (precision_ == Precision::kF32) return;
  // The rounded weights are kept for the length of a forward only: the update changes what they came from.
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_dtype(device_, type_before_);
  at::autocast::set_autocast_enabled(device_, was_enabled_);
}

}  // namespace afterimage::trainer
