// Dynamic Alignment: from the outputs of all student blocks to predictions of teacher levels (maskalign.md
// section 1.5).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

enum class Fusion { kLinear, kSum, kSimple };
enum class Head { kLinear, kNormLinear, kMlp, kMlp2 };
// "linear", "sum", "simple"; "linear", "norm_linear", "mlp", "mlp2". InvalidArgument lists them.
absl::StatusOr<Fusion> ParseFusion(absl::string_view name);
absl::StatusOr<Head> ParseHead(absl::string_view name);

// g_j = sum over student blocks b of mix[j, b] h_b; s_j = head_j(g_j): first the mix, then one head per
// teacher level. Only the levels that the loss weighs have a row and a head.
struct AlignmentConfig {
  Fusion fusion = Fusion::kLinear;
  Head head = Head::kLinear;
  std::vector<uint32_t> levels;  // of the teacher, ascending, from 1
  uint32_t num_teacher_levels = 0;
  int64_t teacher_width = 0;
  int64_t student_depth = 0;
  int64_t student_width = 0;

  // InvalidArgument: linear or simple fusion between networks of different depths, where level j of one is
  // not level j of the other.
  absl::Status Validate() const;
};

// "align.mix" [levels, student depth] (rows of identity + 0.01, or 1 / depth for `sum`; absent for `simple`)
// and "align.heads.<level>.{weight,bias}" (other heads: ".norm.*", ".fc1.*", ".fc2.*"), matrices
// Xavier-uniform, biases zero.
ParameterMap NewAlignment(const AlignmentConfig& config, uint64_t seed);

// `hidden`: hidden[i] leaves block i, hidden[0] is not used. One prediction [B, 1 + n, D_t] per level.
std::vector<at::Tensor> Align(const AlignmentConfig& config, const ParameterMap& parameters,
                              const std::vector<at::Tensor>& hidden);

}  // namespace afterimage::trainer
