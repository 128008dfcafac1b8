// Dynamic Alignment: from the outputs of all student blocks to predictions of teacher levels (maskalign.md
// section 1.5).
#pragma once

#include <cstdint>
#include <map>
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
  // Of the parameters' names: "align", or "align.2", "align.3" … for further teachers (AlignmentPrefix).
  std::string prefix = "align";

  // InvalidArgument: levels that the teacher does not have, none, or not ascending; linear or simple fusion
  // between networks of different depths, where level j of one is not level j of the other.
  absl::Status Validate() const;
};

// "align" of the first teacher (0), "align.2" of the next.
std::string AlignmentPrefix(size_t teacher);
// Whether a parameter is the mix of any teacher; whether it belongs to another one than the first.
bool IsMix(absl::string_view name);
bool IsOfFurtherTeacher(absl::string_view name);

// Names and shapes of the parameters: "align.mix" [levels, student depth] (absent for `simple`) and
// "align.heads.<level>.{weight,bias}" (other heads: ".norm.*", ".fc1.*", ".fc2.*"), `prefix` for "align".
std::map<std::string, std::vector<int64_t>> AlignmentShapes(const AlignmentConfig& config);

// Start values: the mix has rows of identity + 0.01, or 1 / depth for `sum`; matrices are Xavier-uniform,
// biases zero.
ParameterMap NewAlignment(const AlignmentConfig& config, uint64_t seed);

// g_j [B, 1 + n, D] of each level. `hidden`: hidden[i] leaves block i, hidden[0] is not used.
std::vector<at::Tensor> MixLevels(const AlignmentConfig& config, const ParameterMap& parameters,
                                  const std::vector<at::Tensor>& hidden);
// s_j [B, 1 + n, D_t] of each level's g_j.
std::vector<at::Tensor> ApplyHeads(const AlignmentConfig& config, const ParameterMap& parameters,
                                   const std::vector<at::Tensor>& mixed);
// Both: one prediction [B, 1 + n, D_t] per level.
std::vector<at::Tensor> Align(const AlignmentConfig& config, const ParameterMap& parameters,
                              const std::vector<at::Tensor>& hidden);

}  // namespace afterimage::trainer
