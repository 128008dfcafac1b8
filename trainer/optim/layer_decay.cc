#include "trainer/optim/layer_decay.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace afterimage::trainer {

int64_t LayerId(const std::string& name, int64_t depth) {
  absl::string_view rest = name;
  int64_t block = 0;
  if (absl::ConsumePrefix(&rest, "blocks.") && absl::SimpleAtoi(rest.substr(0, rest.find('.')), &block)) {
    return block + 1;
  }
  for (const char* first : {"cls_token", "pos_embed", "reg_token", "patch_embed.", "norm_pre."}) {
    if (absl::StartsWith(name, first)) return 0;
  }
  return depth + 1;
}

ParameterGroup LayerDecayGroup(const std::string& name, const at::Tensor& parameter, double decay,
                               int64_t depth) {
  const bool token = name == "cls_token" || name == "pos_embed" || name == "reg_token";
  return {.decayed = parameter.dim() > 1 && !token,
          .lr_scale = std::pow(decay, static_cast<double>(depth + 1 - LayerId(name, depth)))};
}

}  // namespace afterimage::trainer
