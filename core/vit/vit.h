// The vision transformer of teachers and students: pure functions over named tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/identity/canonical_spec.h"

namespace afterimage {

// Parameters by name, in timm's names whatever the file's family: "cls_token" [1,1,D], "pos_embed" [1,1+N,D],
// "reg_token" [1,R,D], "patch_embed.proj.weight" [D,3,p,p] (and ".bias"), "norm_pre.*", "blocks.<i>.norm1.*",
// "blocks.<i>.attn.qkv.*" [3D,D] (rows q, k, v), "blocks.<i>.attn.proj.*", "blocks.<i>.ls1.gamma",
// "blocks.<i>.norm2.*", "blocks.<i>.mlp.fc1.*", "blocks.<i>.mlp.fc2.*", "blocks.<i>.ls2.gamma", "norm.*",
// "head.*".
using ParameterMap = std::map<std::string, at::Tensor>;

// erf GELU; x * sigmoid(1.702 x); a gated MLP: fc1 [2 M, D] makes gate and value, silu(gate) * value enters
// fc2 [D, M].
enum class Activation { kGelu, kQuickGelu, kSwiGlu };
// "gelu", "quick_gelu", "swiglu". InvalidArgument lists the known names.
const char* ActivationName(Activation activation);
absl::StatusOr<Activation> ParseActivation(absl::string_view name);

// The fully resolved architecture.
struct VitConfig {
  int64_t image_size = 224;
  int64_t patch_size = 16;
  int64_t width = 768;
  int64_t depth = 12;
  int64_t heads = 12;
  int64_t mlp_width = 3072;  // of what enters fc2
  double layer_norm_eps = 1e-6;
  Activation activation = Activation::kGelu;
  bool pre_norm = false;  // LayerNorm before block 1 ("norm_pre"; CLIP)
  bool patch_bias = true;
  bool layer_scale = false;
  // Registers, or a distillation token: rows between the class token and the patches, inside the network only.
  // They are in no output.
  int64_t num_registers = 0;

  int64_t grid() const { return image_size / patch_size; }
  int64_t num_patches() const { return grid() * grid(); }
  // InvalidArgument: patch not dividing the size, heads not dividing the width, a size below 1.
  absl::Status Validate() const;
  Json ToCanonical() const;  // integers, booleans and decimal strings
};

// Pixels [B, 3, S, S] (float, normalised) -> rows [B, N, 3 p p], patch (r, c) at r * grid + c, the inner
// order (channel, row, column) of the patch convolution's weight.
at::Tensor PatchRows(const at::Tensor& pixels, int64_t patch_size);

// What one forward gives.
struct VitOutput {
  // hidden[0] enters block 1, hidden[i] leaves block i: [B, 1 + n, D]; before any final norm.
  std::vector<at::Tensor> hidden;
  // If asked for: the class token's softmax row in the last block, computed in fp32 (or fp64) without the
  // other rows: [B, heads, 1 + R + N], and its mean over heads of the patches alone, [B, N].
  at::Tensor class_attention;
  at::Tensor importance;
};

struct VitForwardOptions {
  at::Tensor visible;            // int64 [B, n] patch indices, or undefined for all patches in order
  bool with_importance = false;  // needs all patches
  // Stochastic depth of the student: undefined, or [depth, 2, B] factors (0 or 1 / keep) for the attention
  // and MLP branch.
  at::Tensor drop_path;
};

// `patches`: rows [B, N, 3 p p], or the gathered rows [B, n, 3 p p] of `visible` when n < N rows are given.
// The patch embedding is a matrix product equal to the convolution, so masked patches cost nothing. Attention
// is fused (scaled_dot_product_attention). Differentiable. All in the dtype of the parameters. Throws
// c10::Error (torch_status.h) where a parameter is missing or a shape does not fit.
VitOutput VitForward(const VitConfig& config, const ParameterMap& parameters, const at::Tensor& patches,
                     const VitForwardOptions& options = {});

// x -> (x - mean) / sqrt(var + eps) over the last dimension, no affine.
at::Tensor LayerNormNoAffine(const at::Tensor& x, double eps);

// Fixed 2-D sin-cos table [1, 1 + grid * grid, width], class row zero, computed in float64 and rounded to
// float (maskalign.md section 1.1). Column first.
at::Tensor SinCosPositions(int64_t width, int64_t grid);

// Multiply-accumulates of one forward over the class token and `num_patches` patches.
double VitForwardMacs(const VitConfig& config, int64_t num_patches);

// Names and shapes that a config demands, for checks and for making new ones. Without "head.*".
std::map<std::string, std::vector<int64_t>> VitParameterShapes(const VitConfig& config);

}  // namespace afterimage
