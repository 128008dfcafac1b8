#include "trainer/loss/level_weights.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace afterimage::trainer {

absl::StatusOr<std::vector<double>> LevelWeights(absl::string_view name, int num_levels) {
  std::vector<double> weights(num_levels, 0.0);
  absl::string_view rest = name;
  int k = 0;
  if (name == "mean") {
    std::fill(weights.begin(), weights.end(), 1.0 / num_levels);
  } else if (name == "out") {
    weights.back() = 1.0;
  } else if (name == "linear_decay") {
    const double sum = num_levels * (num_levels - 1) / 2.0;
    if (sum == 0) return absl::InvalidArgumentError("loss weights linear_decay need at least two levels");
    for (int i = 0; i < num_levels; ++i) weights[i] = i / sum;
  } else if (absl::ConsumePrefix(&rest, "top") && absl::SimpleAtoi(rest, &k) && k > 0) {
    for (int i = std::max(0, num_levels - k); i < num_levels; ++i) weights[i] = 1.0 / k;
  } else if (absl::ConsumePrefix(&rest, "mid") && absl::SimpleAtoi(rest, &k)) {
    if (k < 0 || k >= num_levels) {
      return absl::InvalidArgumentError(
          absl::StrCat("loss weights ", name, ": the index is in 0..", num_levels - 1));
    }
    weights[k] = 1.0;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("unknown loss weights \"", name,
                                                   "\": mean, out, linear_decay, topK and midK are known"));
  }
  return weights;
}

}  // namespace afterimage::trainer
