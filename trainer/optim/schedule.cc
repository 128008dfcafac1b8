#include "trainer/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

double WarmupCosine::At(double position) const {
  if (position < warmup) return lr * position / warmup;
  if (total <= warmup) return lr;
  const double progress = std::min(1.0, (position - warmup) / (total - warmup));
  return min_lr + (lr - min_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

double LinearRange::At(uint64_t epoch, uint64_t num_epochs) const {
  if (num_epochs <= 1) return first;
  const double progress = static_cast<double>(epoch) / static_cast<double>(num_epochs - 1);
  return std::lerp(first, last, std::min(1.0, progress));
}

std::string LinearRange::Text() const {
  return is_constant() ? DecimalText(first) : absl::StrCat(DecimalText(first), ":", DecimalText(last));
}

absl::StatusOr<LinearRange> ParseLinearRange(absl::string_view text, double low, double high) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  const auto refuse = [&] {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is neither a number from ",
                                                   DecimalText(low), " to ", DecimalText(high),
                                                   " nor two of them as A:B"));
  };
  if (parts.size() > 2) return refuse();
  std::vector<double> values;
  for (const absl::string_view part : parts) {
    const absl::StatusOr<double> value = ParseDecimal(part);
    if (!value.ok() || !(*value >= low && *value <= high)) return refuse();
    values.push_back(*value);
  }
  return LinearRange(values.front(), values.back());
}

}  // namespace afterimage::trainer
