// Networks in .safetensors files, in timm's names.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

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
  // Float32. A classifier has "head.*" too; one over the mean patch has "fc_norm.*" behind the mean in the
  // place of "norm.*", as timm's `global_pool="avg"` has it.
  ParameterMap parameters;
  std::vector<std::string> class_names;  // of the head's rows; empty = not known
};

// What names and shapes of parameters in timm's names say: width, depth, MLP width, and which optional parts
// there are. Heads, sizes of image and patch, activation and eps stay as they are in `config`.
// InvalidArgument names the tensor that should say it.
absl::Status ReadVitShapes(const ParameterMap& parameters, VitConfig& config);

// InvalidArgument: a parameter is missing or has another shape than `wanted` (named, both shapes told), or
// there is one that neither `wanted` nor `optional` knows. `file_name`: how an error calls a parameter.
absl::Status CheckParameterShapes(const ParameterMap& parameters,
                                  const std::map<std::string, std::vector<int64_t>>& wanted,
                                  const std::set<std::string>& optional = {},
                                  const std::function<std::string(const std::string&)>& file_name = {});

// What names and shapes of the tensors do not tell, as JSON: kept in files and checkpoints beside them.
std::string NetworkText(const VitWeights& weights);
// The other way, into `weights`, whose parameters are there already: config, pixels, class names.
// InvalidArgument: no such text, or a missing, extra or wrongly shaped tensor (named, both shapes told).
absl::Status ReadNetworkText(absl::string_view text, VitWeights& weights);

// The parameters as they are exported: "f32" or "f16". InvalidArgument: another type.
absl::StatusOr<ParameterMap> InExportType(const ParameterMap& parameters, const std::string& dtype);

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
