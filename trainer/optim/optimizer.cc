#include "trainer/optim/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/str_cat.h"

namespace afterimage::trainer {

absl::Status Optimizer::LoadState(const ParameterMap& state) {
  const ParameterMap mine = State();
  for (const auto& [name, tensor] : mine) {
    const auto found = state.find(name);
    if (found == state.end()) return absl::InvalidArgumentError(absl::StrCat("optimiser state lacks ", name));
    if (found->second.sizes() != tensor.sizes()) {
      return absl::InvalidArgumentError(absl::StrCat("optimiser state ", name, " has ", found->second.numel(),
                                                     " values, not ", tensor.numel()));
    }
  }
  for (const auto& [name, unused] : state) {
    if (!mine.contains(name))
      return absl::InvalidArgumentError(absl::StrCat("optimiser state has an extra ", name));
  }
  c10::NoGradGuard no_grad;
  for (const auto& [name, tensor] : mine) at::Tensor(tensor).copy_(state.at(name));
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
