#include "core/feature/profile_choices.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/feature/packed_codes.h"

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
  const auto stands_out = [&](size_t n) {  // the n-th channel, from those that are left with n
    const double deviation = sigma[order[n - 1]];
    return deviation * deviation * static_cast<double>(sigma.size() - n) > 2.5 * squares[n];
  };
  constexpr size_t kChannelsPerPair = 36;
  const size_t most = 2 * (sigma.size() / kChannelsPerPair);
  size_t num_wide = std::min<size_t>(2, sigma.size());
  while (num_wide + 2 <= most && stands_out(num_wide + 2)) num_wide += 2;
  const auto num_beyond = static_cast<size_t>(
      std::ranges::count_if(sigma, [](float deviation) { return deviation > kLargestScale; }));
  num_wide = std::min(std::max(num_wide, (num_beyond + 1) / 2 * 2), sigma.size());
  order.resize(num_wide);
  std::ranges::sort(order);
  return order;
}

}  // namespace afterimage
