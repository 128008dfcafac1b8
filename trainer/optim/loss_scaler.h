// The factor on the loss that keeps gradients within half precision.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

// Under this name a checkpoint keeps the scaler among its values.
inline constexpr char kLossScaleValue[] = "loss_scale";

// As PyTorch's GradScaler with its defaults: the factor begins at 65536, doubles after 2000 updates in a row
// without overflow, and halves where gradients overflow; that update is left out. Powers of two throughout,
// so that scaling changes no finite bit. All of it goes into checkpoints. Not thread-safe.
class LossScaler {
 public:
  // What to call backward on.
  at::Tensor Scaled(const at::Tensor& loss) const;
  // Divides the gradients by the factor; false where one is not finite.
  bool Unscale(const ParameterMap& parameters) const;
  // After Unscale, with its result.
  void Update(bool finite);

  double scale() const { return scale_; }
  uint64_t num_skipped() const { return num_skipped_; }
  // The factor is so small that it is not half precision which overflows.
  bool exhausted() const { return scale_ < kLeastScale; }

  std::string Serialize() const;
  // InvalidArgument: not what Serialize gives.
  static absl::StatusOr<LossScaler> Parse(absl::string_view text);

 private:
  static constexpr double kGrowth = 2.0;
  static constexpr double kBackoff = 0.5;
  static constexpr uint64_t kGrowthInterval = 2000;
  static constexpr double kMostScale = 0x1p+120;  // a float still holds its double
  static constexpr double kLeastScale = 0x1p-13;  // 29 overflows in a row from the start

  double scale_ = 65536.0;
  uint64_t num_clean_ = 0;    // updates since the factor last changed
  uint64_t num_skipped_ = 0;  // of the run
};

}  // namespace afterimage::trainer
