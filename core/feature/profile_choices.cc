#include "core/feature/profile_choices.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace afterimage {

float ChooseI8xClip(std::span<const float> sigma) {
  double squares = 0;
  for (const float deviation : sigma) squares += static_cast<double>(deviation) * deviation;
  const double energy = std::sqrt(squares / static_cast<double>(sigma.size()));
  // The RMSE of rounding is a step over the root of twelve.
  constexpr double kRootOfTwelve = 3.4641016151377544;
  const double wanted = kI8xRmseAim * 127 * kRootOfTwelve / energy;
  // Without any deviation it is infinite, or of no channels no number.
  if (!(wanted < kWidestI8xClip)) return kWidestI8xClip;
  return std::max(static_cast<float>(wanted), kNarrowestI8xClip);
}

std::vector<uint16_t> ChooseWideChannels(std::span<const float> sigma) {
  std::vector<uint16_t> order(sigma.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](uint16_t a, uint16_t b) { return sigma[a] > sigma[b]; });
  // squares[n]: of the deviations that are left with n wide channels.
  std::vector<double> squares(sigma.size() + 1, 0.0);
  for (size_t n = sigma.size(); n-- > 0;) {
    const double deviation = sigma[order[n]];
    squares[n] = squares[n + 1] + deviation * deviation;
  }
  constexpr size_t kChannelsPerPair = 56, kFewestChannelsPerPair = 36;
  // Of 16 levels for a normal distribution (Max, table I).
  constexpr double kSquareError = 0.009497;
  const double enough = kI4xRmseAim * kI4xRmseAim / kSquareError * static_cast<double>(sigma.size());
  const size_t least = 2 * std::max<size_t>(1, sigma.size() / kChannelsPerPair);
  const size_t most = 2 * (sigma.size() / kFewestChannelsPerPair);
  size_t num_wide = std::min(least, sigma.size());
  for (size_t n = num_wide; n <= most; n += 2) {
    if (squares[n] > enough) continue;
    num_wide = n;
    break;
  }
  order.resize(num_wide);
  std::ranges::sort(order);
  return order;
}

}  // namespace afterimage
