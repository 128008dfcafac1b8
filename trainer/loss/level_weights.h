// How much each teacher level counts in the loss.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

// Weights of levels 1..num_levels (index 0 is level 1), maskalign.md section 1.6: "mean" 1/n each; "out" the
// last only; "linear_decay" (j - 1) / sum(0..n-1) for level j; "topK" 1/K on each of the last K (the recipe:
// top5; with K above n, 1/K on each); "midK" only the level of 0-based index K. InvalidArgument lists the
// known names, or tells the range of K.
absl::StatusOr<std::vector<double>> LevelWeights(absl::string_view name, int num_levels);

}  // namespace afterimage::trainer
