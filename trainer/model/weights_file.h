// Networks in .safetensors files, in timm's names.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

// How uint8 pixels become the network's input: (x / 255 - mean) / deviation.
struct PixelNorm {
  std::string mean = "0.485,0.456,0.406";  // decimals, red, green, blue: ImageNet's
  std::string deviation = "0.229,0.224,0.225";
};

struct VitWeights {
  VitConfig config;
  PixelNorm pixels;
  ParameterMap parameters;  // "head.*" included where there is one; float32
};

// Writes aside, syncs, renames. The metadata "afterimage.config" keeps what names and shapes do not tell, so
// that TeacherRunner and timm's users need no second file. `dtype`: "f32" or "f16".
absl::Status SaveVitWeights(const std::string& path, const VitWeights& weights, const std::string& dtype);

// A file that SaveVitWeights or `export` wrote. InvalidArgument: no "afterimage.config", or a missing, extra
// or wrongly shaped tensor (named, both shapes told).
absl::StatusOr<VitWeights> LoadVitWeights(const std::string& path);

// [..., 3] uint8 -> float, normalised, in the dtype and on the device of `mean`.
at::Tensor NormalizePixels(const at::Tensor& pixels, const at::Tensor& mean, const at::Tensor& deviation);
// "0.5,0.5,0.5" -> tensor [3]. InvalidArgument unless three decimals.
absl::StatusOr<at::Tensor> ParseTriple(const std::string& text);

}  // namespace afterimage::trainer
