#include "core/vit/vit.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

// Named access with an error that names what is missing.
class Parameters {
 public:
  explicit Parameters(const ParameterMap& map) : map_(map) {}

  const at::Tensor& operator[](const std::string& name) const {
    const auto found = map_.find(name);
    TORCH_CHECK(found != map_.end(), "parameter \"", name, "\" is missing");
    return found->second;
  }
  at::Tensor Linear(const at::Tensor& x, const std::string& name) const {
    return at::linear(x, (*this)[name + ".weight"], (*this)[name + ".bias"]);
  }
  at::Tensor LayerNorm(const at::Tensor& x, const std::string& name, double eps) const {
    return at::layer_norm(x, {x.size(-1)}, (*this)[name + ".weight"], (*this)[name + ".bias"], eps);
  }

 private:
  const ParameterMap& map_;
};

// Rows [B, 1 + R + n, D] entering the first block: class token, registers, then patches; positions added to
// all but the registers.
at::Tensor EmbedPatches(const VitConfig& config, const Parameters& parameters, at::Tensor patches,
                        const at::Tensor& visible) {
  const int64_t batch = patches.size(0);
  const int64_t num_patches = config.num_patches();
  const int64_t row = 3 * config.patch_size * config.patch_size;
  TORCH_CHECK(patches.dim() == 3 && patches.size(2) == row, "patch rows have ", row, " values, these are ",
              patches.sizes());
  const at::Tensor& table = parameters["pos_embed"];
  at::Tensor positions = table.slice(1, 1);
  if (visible.defined()) {
    const int64_t num_visible = visible.size(1);
    TORCH_CHECK(visible.dim() == 2 && visible.size(0) == batch, "visible patches are [B, n], these are ",
                visible.sizes());
    if (patches.size(1) == num_patches) {
      patches = patches.gather(1, visible.unsqueeze(-1).expand({batch, num_visible, row}));
    }
    TORCH_CHECK(patches.size(1) == num_visible, num_visible, " visible patches and ", patches.size(1),
                " rows");
    positions =
        positions.squeeze(0).index_select(0, visible.reshape({-1})).view({batch, num_visible, config.width});
  } else {
    TORCH_CHECK(patches.size(1) == num_patches, num_patches, " patches are wanted, there are ",
                patches.size(1));
  }
  const at::Tensor weight = parameters["patch_embed.proj.weight"].reshape({config.width, row});
  const std::optional<at::Tensor> bias =
      config.patch_bias ? std::make_optional(parameters["patch_embed.proj.bias"]) : std::nullopt;
  const at::Tensor tokens = at::linear(patches, weight, bias) + positions;
  const at::Tensor class_token =
      (parameters["cls_token"] + table.slice(1, 0, 1)).expand({batch, 1, config.width});
  if (config.num_registers == 0) return at::cat({class_token, tokens}, 1);
  const at::Tensor registers = parameters["reg_token"].expand({batch, config.num_registers, config.width});
  return at::cat({class_token, registers, tokens}, 1);
}

// [B, 1 + R + n, D] -> [B, 1 + n, D]
at::Tensor WithoutRegisters(const VitConfig& config, const at::Tensor& rows) {
  if (config.num_registers == 0) return rows;
  return at::cat({rows.slice(1, 0, 1), rows.slice(1, 1 + config.num_registers)}, 1);
}

// The class token's softmax row [B, heads, L]; q and k [B, heads, L, d]. Single precision at least.
at::Tensor ClassAttention(const at::Tensor& q, const at::Tensor& k) {
  const at::ScalarType type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(-1)));
  const at::Tensor query = q.slice(2, 0, 1).to(type) * scale;
  // Products and sums: a matrix product of a single row has other bits at other places of the batch, since
  // MKL looks at the alignment of the result.
  return at::softmax((query * k.to(type)).sum(-1), -1);
}

// Mean over heads of a class row, of the patches, which begin at `first_patch`.
at::Tensor MeanOverHeads(const at::Tensor& attention, int64_t first_patch) {
  const at::Tensor row = attention.slice(2, first_patch);
  // Head by head: the order of this sum must not depend on the shape of the batch, as a reduction's may.
  const int64_t heads = row.size(1);
  at::Tensor sum = row.select(1, 0);
  for (int64_t head = 1; head < heads; ++head) sum = sum + row.select(1, head);
  return sum / static_cast<double>(heads);
}

// `x` is nobody else's: where no gradient needs its values they are overwritten (the same numbers, less
// memory).
at::Tensor Activate(at::Tensor x, Activation activation) {
  if (activation == Activation::kSwiGlu) {
    const std::vector<at::Tensor> halves = x.chunk(2, -1);
    return at::silu(halves[0]) * halves[1];
  }
  const bool in_place = !(c10::GradMode::is_enabled() && x.requires_grad());
  if (activation == Activation::kQuickGelu) {
    const at::Tensor gate = x * 1.702;
    return in_place ? gate.sigmoid_().mul_(x) : x * at::sigmoid(gate);
  }
  return in_place ? at::gelu_(x) : at::gelu(x);
}

}  // namespace

at::Tensor PatchRows(const at::Tensor& pixels, int64_t patch_size) {
  const int64_t batch = pixels.size(0);
  const int64_t rows = pixels.size(2) / patch_size;
  const int64_t columns = pixels.size(3) / patch_size;
  TORCH_CHECK(pixels.dim() == 4 && pixels.size(1) == 3 && rows * patch_size == pixels.size(2) &&
                  columns * patch_size == pixels.size(3),
              "patches of ", patch_size, " pixels do not tile ", pixels.sizes());
  return pixels.reshape({batch, 3, rows, patch_size, columns, patch_size})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({batch, rows * columns, 3 * patch_size * patch_size});
}

VitOutput VitForward(const VitConfig& config, const ParameterMap& map, const at::Tensor& patches,
                     const VitForwardOptions& options) {
  TORCH_CHECK(!options.with_importance || !options.visible.defined(), "importance needs all patches");
  const Parameters parameters(map);
  const double eps = config.layer_norm_eps;
  at::Tensor x = EmbedPatches(config, parameters, patches, options.visible);
  if (config.pre_norm) x = parameters.LayerNorm(x, "norm_pre", eps);
  const int64_t batch = x.size(0);
  const int64_t length = x.size(1);

  // x + factor * gamma * branch
  const auto add_branch = [&](at::Tensor branch, int64_t block, int64_t index, const std::string& gamma) {
    if (config.layer_scale) branch = branch * parameters[gamma];
    if (options.drop_path.defined()) {
      branch = branch * options.drop_path.select(0, block).select(0, index).view({batch, 1, 1});
    }
    x = x + branch;
  };

  VitOutput output;
  output.hidden.reserve(static_cast<size_t>(config.depth) + 1);
  output.hidden.push_back(WithoutRegisters(config, x));
  for (int64_t i = 0; i < config.depth; ++i) {
    const std::string block = absl::StrCat("blocks.", i, ".");
    const std::vector<at::Tensor> qkv =
        parameters.Linear(parameters.LayerNorm(x, block + "norm1", eps), block + "attn.qkv")
            .view({batch, length, 3, config.heads, config.width / config.heads})
            .permute({2, 0, 3, 1, 4})
            .unbind(0);
    if (options.with_importance && i + 1 == config.depth) {
      output.class_attention = ClassAttention(qkv[0], qkv[1]);
      output.importance = MeanOverHeads(output.class_attention, 1 + config.num_registers);
    }
    const at::Tensor attended = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
                                    .transpose(1, 2)
                                    .reshape({batch, length, config.width});
    add_branch(parameters.Linear(attended, block + "attn.proj"), i, 0, block + "ls1.gamma");
    const at::Tensor expanded =
        parameters.Linear(parameters.LayerNorm(x, block + "norm2", eps), block + "mlp.fc1");
    add_branch(parameters.Linear(Activate(expanded, config.activation), block + "mlp.fc2"), i, 1,
               block + "ls2.gamma");
    output.hidden.push_back(WithoutRegisters(config, x));
  }
  return output;
}

at::Tensor LayerNormNoAffine(const at::Tensor& x, double eps) {
  // Row by row: a token's values depend on nothing but the token.
  return at::layer_norm(x, {x.size(-1)}, {}, {}, eps);
}

}  // namespace afterimage
